"""How the CRM's records become recipients of newsletters, and how answers become requests."""

from django.utils import timezone

from example_project.crm.models import Company, Contact, Lead, Request
from massmail.conversations import ConversationType
from massmail.recipient_types import RecipientType


class ContactRecipients(RecipientType):
    model = "crm.Contact"
    email = "email"
    owner = "owner"
    subscribed = "massmail"
    company = "company"
    language = "language"
    search = ["first_name", "last_name", "email"]
    filters = ["company__industry", "country", "company__type", "creation_date"]
    variables = {
        "first_name": "First name",
        "last_name": "Last name",
        "title": "Title or position",
        "company": "Company's name",
        "country": "Country",
    }
    variable_paths = {
        "first_name": "first_name",
        "last_name": "last_name",
        "title": "title",
        "company": "company__full_name",
        "country": "country__name",
    }

    def queryset(self):
        return Contact.objects.select_related("company", "country")

    def eligible(self, queryset):
        return queryset.filter(disqualified=False, company__disqualified=False)

    def values(self, contact):
        return {
            "first_name": contact.first_name,
            "last_name": contact.last_name,
            "title": contact.title,
            "company": contact.company.full_name,
            "country": contact.country.name if contact.country else "",
        }


class CompanyRecipients(RecipientType):
    model = "crm.Company"
    subscribed = "massmail"
    company = "id"
    search = ["full_name", "email"]
    variables = {"company": "Company's name", "city": "City", "country": "Country"}

    def queryset(self):
        return Company.objects.select_related("country")

    def eligible(self, queryset):
        return queryset.filter(disqualified=False)

    def values(self, company):
        return {
            "company": company.full_name,
            "city": company.city_name,
            "country": company.country.name if company.country else "",
        }


class LeadRecipients(RecipientType):
    model = "crm.Lead"
    subscribed = "massmail"
    company = "company_name"
    language = "language"
    search = ["first_name", "last_name", "email", "company_name"]
    variables = {
        "first_name": "First name",
        "last_name": "Last name",
        "company": "Company's name",
        "country": "Country",
    }

    def queryset(self):
        return Lead.objects.select_related("country")

    def eligible(self, queryset):
        return queryset.filter(disqualified=False)

    def values(self, lead):
        return {
            "first_name": lead.first_name,
            "last_name": lead.last_name,
            "company": lead.company_name,
            "country": lead.country.name if lead.country else "",
        }


class RequestConversations(ConversationType):
    model = "crm.Request"
    people = ["crm.Contact", "crm.Lead"]
    lead = "crm.Lead"

    def create(self, incoming):
        person = incoming.person
        return Request.objects.create(
            ticket=incoming.ticket,
            subject=incoming.subject[:250],
            text=incoming.text,
            owner=incoming.owner,
            contact=person if isinstance(person, Contact) else None,
            lead=person if isinstance(person, Lead) else None,
            creation_date=timezone.localdate(incoming.received_at),
        )

    def create_lead(self, incoming):
        first, _, last = incoming.name.rpartition(" ")
        return Lead.objects.create(
            first_name=first[:100],
            last_name=last[:100],
            email=incoming.address,
            owner=incoming.owner,
            source="Email",
            # Nobody who wrote to us has asked for newsletters by that.
            massmail=False,
            creation_date=timezone.localdate(incoming.received_at),
        )


class DealConversations(ConversationType):
    model = "crm.Deal"
    continues = "request"
