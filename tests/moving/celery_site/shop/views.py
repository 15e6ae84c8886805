from celery.result import AsyncResult
from django.db import transaction
from django.http import JsonResponse

from . import tasks
from .models import Order


def create_order(request):
    with transaction.atomic():
        order = Order.objects.create(email=request.POST["email"], amount=request.POST["amount"])
        tasks.send_confirmation.delay_on_commit(order.pk)
    result = tasks.charge.apply_async(args=[order.pk], countdown=5)
    Order.objects.filter(pk=order.pk).update(task_id=result.id)
    return JsonResponse({"order": order.pk, "task": result.id})


def start_import(request):
    result = tasks.import_rows.delay(request.POST["rows"].split(","))
    return JsonResponse({"task_id": result.task_id}, status=202)


def task_status(request, task_id):
    result = AsyncResult(task_id)
    info = result.info
    if isinstance(info, Exception):
        info = str(info)
    elif not isinstance(info, (dict, list, str, int, type(None))):
        info = repr(info)
    return JsonResponse({"state": result.state, "info": info, "ready": result.ready()})


def revoke_task(request, task_id):
    AsyncResult(task_id).revoke(terminate=True)
    return JsonResponse({"revoked": task_id})
