"""A small CRM. It knows nothing of mailings: see `mailing.py` for the adapters."""

from django.conf import settings
from django.db import models


class Named(models.Model):
    name = models.CharField(max_length=100, unique=True)

    class Meta:
        abstract = True
        ordering = ["name"]

    def __str__(self):
        return self.name


class Country(Named):
    class Meta(Named.Meta):
        verbose_name_plural = "countries"


class Industry(Named):
    class Meta(Named.Meta):
        verbose_name_plural = "industries"


class ClientType(Named):
    pass


class Tag(Named):
    pass


class Owned(models.Model):
    """What every customer record has: an owner, the newsletter flag, the disqualified flag."""

    email = models.CharField(max_length=320, blank=True, help_text="One address, or several separated by commas.")
    phone = models.CharField(max_length=50, blank=True)
    country = models.ForeignKey(Country, models.SET_NULL, null=True, blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    massmail = models.BooleanField("mailing list", default=True, help_text="Untick to send no newsletters.")
    disqualified = models.BooleanField(default=False)
    tags = models.ManyToManyField(Tag, blank=True)
    creation_date = models.DateField()

    class Meta:
        abstract = True


class Company(Owned):
    full_name = models.CharField(max_length=200)
    industry = models.ForeignKey(Industry, models.SET_NULL, null=True, blank=True)
    type = models.ForeignKey(ClientType, models.SET_NULL, null=True, blank=True)
    city_name = models.CharField("city", max_length=100, blank=True)
    website = models.URLField(blank=True)

    class Meta:
        verbose_name_plural = "companies"
        ordering = ["full_name", "id"]

    def __str__(self):
        return self.full_name


class Person(Owned):
    first_name = models.CharField(max_length=100, blank=True)
    last_name = models.CharField(max_length=100, blank=True)
    title = models.CharField(max_length=100, blank=True)
    language = models.CharField(max_length=10, default="en")

    class Meta:
        abstract = True
        ordering = ["last_name", "first_name", "id"]

    def __str__(self):
        return f"{self.first_name} {self.last_name}".strip() or self.email


class Contact(Person):
    company = models.ForeignKey(Company, models.CASCADE, related_name="contacts")

    class Meta(Person.Meta):
        verbose_name = "contact person"


class Lead(Person):
    company_name = models.CharField(max_length=200, blank=True)
    industry = models.ForeignKey(Industry, models.SET_NULL, null=True, blank=True)
    source = models.CharField(max_length=100, blank=True)


class Request(models.Model):
    """A commercial request, known in correspondence by its ticket."""

    ticket = models.CharField(max_length=16, unique=True)
    subject = models.CharField(max_length=250)
    text = models.TextField(blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    contact = models.ForeignKey(Contact, models.SET_NULL, null=True, blank=True, related_name="requests")
    lead = models.ForeignKey(Lead, models.SET_NULL, null=True, blank=True, related_name="requests")
    creation_date = models.DateField()

    class Meta:
        ordering = ["-id"]

    def __str__(self):
        return f"{self.subject} [{self.ticket}]"


class Deal(models.Model):
    ticket = models.CharField(max_length=16, unique=True)
    name = models.CharField(max_length=250)
    request = models.ForeignKey(Request, models.SET_NULL, null=True, blank=True, related_name="deals")
    contact = models.ForeignKey(Contact, models.SET_NULL, null=True, blank=True, related_name="deals")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    active = models.BooleanField(default=True)
    creation_date = models.DateField()

    class Meta:
        ordering = ["-id"]

    def __str__(self):
        return f"{self.name} [{self.ticket}]"
