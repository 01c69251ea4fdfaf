"""The CRM in the admin. What there is about mail comes from massmail's mixins."""

from django.contrib import admin

from example_project.crm.models import ClientType, Company, Contact, Country, Deal, Industry, Lead, Request, Tag
from massmail.admin import MassmailAdminMixin, MassmailConversationMixin, MassmailRequestAdminMixin

#: The mixin adds its columns at the end; named in `list_display` they stand where the host wants them.
MAILINGS = ["massmail_vip", "massmail_subscribed", "massmail_last_mailing"]


@admin.register(Country, Industry, ClientType, Tag)
class NamedAdmin(admin.ModelAdmin):
    search_fields = ["name"]


class CustomerAdmin(MassmailAdminMixin, admin.ModelAdmin):
    """What the lists of companies, contacts and leads have in common: they stay quick with 200,000 rows."""

    list_per_page = 50
    # Counting all rows besides the matching ones takes another scan of the table at each search.
    show_full_result_count = False
    autocomplete_fields = ["tags"]

    class Media:
        css = {"all": ["crm/lists.css"]}

    @admin.display(ordering="last_name")
    def name(self, person):
        return str(person)


@admin.register(Company)
class CompanyAdmin(CustomerAdmin):
    list_display = ["full_name", "email", *MAILINGS, "type", "country", "owner"]
    list_filter = ["owner", "type", "industry", "country", "massmail", "disqualified", "tags", "creation_date"]
    list_select_related = ["type", "industry", "country", "owner"]
    search_fields = ["full_name", "email", "city_name"]


@admin.register(Contact)
class ContactAdmin(CustomerAdmin):
    list_display = ["name", "email", *MAILINGS, "company", "owner"]
    list_filter = [
        "owner",
        "company__industry",
        "country",
        "company__type",
        "massmail",
        "disqualified",
        "tags",
        "creation_date",
    ]
    list_select_related = ["company", "country", "owner"]
    search_fields = ["first_name", "last_name", "email"]
    autocomplete_fields = ["company", "tags"]


@admin.register(Lead)
class LeadAdmin(CustomerAdmin):
    list_display = ["name", "email", *MAILINGS, "company_name", "owner"]
    list_filter = ["owner", "industry", "country", "source", "massmail", "disqualified", "tags", "creation_date"]
    list_select_related = ["country", "owner"]
    search_fields = ["first_name", "last_name", "email", "company_name"]


@admin.register(Request)
class RequestAdmin(MassmailRequestAdminMixin, admin.ModelAdmin):
    list_display = ["ticket", "subject", "contact", "lead", "owner", "creation_date"]
    list_display_links = ["ticket", "subject"]
    list_filter = ["owner", "creation_date"]
    list_select_related = ["contact", "lead", "owner"]
    search_fields = ["ticket", "subject"]
    autocomplete_fields = ["contact", "lead"]


@admin.register(Deal)
class DealAdmin(MassmailConversationMixin, admin.ModelAdmin):
    list_display = ["ticket", "name", "contact", "amount", "active", "owner", "creation_date"]
    list_display_links = ["ticket", "name"]
    list_filter = ["active", "owner", "creation_date"]
    list_select_related = ["contact", "owner"]
    search_fields = ["ticket", "name"]
    autocomplete_fields = ["contact", "request"]
