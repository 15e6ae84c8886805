from django.urls import path
from shop import views

urlpatterns = [
    path("orders/", views.create_order),
    path("import/", views.start_import),
    path("tasks/<task_id>/", views.task_status),
    path("tasks/<task_id>/revoke/", views.revoke_task),
]
