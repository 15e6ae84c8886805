from django.db import models


class Order(models.Model):
    email = models.EmailField()
    amount = models.DecimalField(max_digits=8, decimal_places=2, default=0)
    status = models.CharField(max_length=20, default="new")
    task_id = models.CharField(max_length=40, blank=True, default="")


class Cart(models.Model):
    updated = models.DateField()


class TaskLog(models.Model):
    name = models.CharField(max_length=200)
    task_id = models.CharField(max_length=40, blank=True, default="")
    event = models.CharField(max_length=20)
    text = models.TextField(blank=True, default="")
