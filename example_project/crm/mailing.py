"""How the CRM's records become recipients of newsletters."""

from example_project.crm.models import Company, Contact, Lead
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
