from django.urls import path
from garden import views

urlpatterns = [path("water/<int:plant_id>/", views.water)]
