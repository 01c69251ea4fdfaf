import uuid

from django.conf import settings
from django.db import models


class Region(models.Model):
    manager = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)

    def __str__(self) -> str:
        return f"Region {self.pk}"


class Partner(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    region = models.ForeignKey(Region, models.CASCADE)
    email = models.EmailField()

    def __str__(self) -> str:
        return self.email


class Vendor(models.Model):
    code = models.CharField(primary_key=True, max_length=20)
    region = models.ForeignKey(Region, models.CASCADE)
    mail_address = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.code
