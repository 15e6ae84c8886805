from django.http import JsonResponse

from .tasks import water_plant


def water(request, plant_id):
    result = water_plant(plant_id, liters=2)
    return JsonResponse({"task": result.id})
