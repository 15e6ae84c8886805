from django.http import JsonResponse
from django_rq import get_queue

from .models import Subscriber
from .tasks import send_welcome


def signup(request):
    subscriber = Subscriber.objects.create(email=request.POST["email"])
    job = send_welcome.delay(subscriber.pk, language="de")
    return JsonResponse({"job": job.id})


def job_status(request, job_id):
    job = get_queue("high").fetch_job(job_id)
    if job is None:
        return JsonResponse({"status": "unknown"}, status=404)
    return JsonResponse({"status": job.get_status(), "result": job.result, "meta": job.meta})
