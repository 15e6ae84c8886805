from django.db import models


class Subscriber(models.Model):
    email = models.EmailField(unique=True)
    welcomed = models.BooleanField(default=False)
    score = models.IntegerField(default=0)


class Event(models.Model):
    text = models.CharField(max_length=200)
