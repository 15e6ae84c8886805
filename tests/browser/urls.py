"""The addresses of testproject, as a browser meets them."""

from testproject.urls import urlpatterns

__all__ = ["urlpatterns"]
