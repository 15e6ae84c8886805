from django.urls import path
from newsletter import views

urlpatterns = [
    path("signup/", views.signup),
    path("jobs/<job_id>/", views.job_status),
]
