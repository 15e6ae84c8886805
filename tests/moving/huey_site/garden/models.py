from django.db import models


class Plant(models.Model):
    name = models.CharField(max_length=100)
    watered = models.IntegerField(default=0)


class Event(models.Model):
    text = models.CharField(max_length=200)
