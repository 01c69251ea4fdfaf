from massmail.recipient_types import RecipientType


class PartnerRecipients(RecipientType):
    model = "host.Partner"
    owner = "region__manager"
    variables = {"email": "Address"}

    def values(self, partner):
        return {"email": partner.email}


class VendorRecipients(RecipientType):
    model = "host.Vendor"
    email = "mail_address"
    owner = "region__manager"
    variables = {"code": "Code"}

    def values(self, vendor):
        return {"code": vendor.code}
