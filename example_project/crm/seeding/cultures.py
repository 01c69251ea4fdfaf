"""Names, towns and legal forms of the countries the seeded customers live in."""
# ruff: noqa: RUF001  these letters are meant

from dataclasses import dataclass

#: What `ascii_slug` can't get by taking accents off.
LETTERS = str.maketrans(
    dict(zip("абвгґдеєзиіїйклмнопрстуфъыэ", "abvggdeeziiiiklmnoprstufaye", strict=True))
    | dict(zip("жхцчшщьюяё", ["zh", "kh", "ts", "ch", "sh", "shch", "", "yu", "ya", "yo"], strict=True))
    | dict(zip("αβγδεζηικλμνξοπρσςτυφωάέήίόύώ", "avgdeziiklmnxoprsstyfoaeiioyo", strict=True))
    | dict(zip("θχψ", ["th", "ch", "ps"], strict=True))
    | dict(zip("äöüßåøæłı", ["ae", "oe", "ue", "ss", "aa", "oe", "ae", "l", "i"], strict=True))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Culture:
    """One country's words. A surname "Novák/Nováková" has a form for men and one for women."""

    country: str
    language: str
    women: tuple[str, ...]
    men: tuple[str, ...]
    surnames: tuple[str, ...]
    cities: tuple[str, ...]
    legal_forms: tuple[str, ...]
    phone: str


def _culture(country, language, phone, *, women, men, surnames, cities, forms):
    return Culture(
        country=country,
        language=language,
        phone=phone,
        women=tuple(women.split()),
        men=tuple(men.split()),
        surnames=tuple(surnames.split()),
        cities=tuple(cities.split(", ")),
        legal_forms=tuple(forms.split(", ")),
    )


CULTURES = (
    _culture(
        "Germany",
        "de",
        "+49 30",
        women="Anna Käthe Sabine Jördis Ute Mareike Birgit Heike Lea Friederike Silke Änne",
        men="Jürgen Matthias Sören Götz Uwe Lukas Björn Thorsten Holger Jan-Peter Rüdiger Emil",
        surnames="Schmidt Müller Weiß Schröder Köhler Jäger Vogt Lindemann Böhm Groß Hübner Kästner Thiele Ziegler "
        "Bäcker Fromm Winkler Seidel Öztürk Reuß Dörfler Hagedorn",
        cities="Köln, München, Lübeck, Görlitz, Gießen, Dresden, Osnabrück, Saarbrücken",
        forms="GmbH, GmbH & Co. KG, AG, KG, e. K.",
    ),
    _culture(
        "Austria",
        "de",
        "+43 1",
        women="Theresa Veronika Magdalena Katharina Johanna Eva-Maria",
        men="Florian Wolfgang Andreas Maximilian Leopold Günther",
        surnames="Gruber Huber Wagner Steiner Moser Fürst Hölzl Brückner Pöschl Schönberger",
        cities="Wien, Graz, Linz, Sankt Pölten, Klagenfurt",
        forms="GmbH, OG, AG",
    ),
    _culture(
        "France",
        "fr",
        "+33 1",
        women="Élodie Chloé Françoise Hélène Amélie Anaïs Marie-Laure Noémie",
        men="François Jérôme Étienne Loïc Benoît Mathéo Jean-Noël Rémi",
        surnames="Lefèvre Dupré Gérard Bénard Chevalier D'Amboise Prévost Noël Lemaître Marchand Girard Béranger "
        "Garçon Roussel",
        cities="Orléans, Besançon, Saint-Étienne, Lyon, Nîmes, Angoulême",
        forms="SARL, SAS, SA, EURL",
    ),
    _culture(
        "United Kingdom",
        "en",
        "+44 20",
        women="Charlotte Imogen Harriet Niamh Priya Zoë Siân Beatrice",
        men="Alistair Graham Oliver Rhys Callum Hamish Nigel Imran",
        surnames="O'Connor Whitfield Ashworth Patel MacLeod Hargreaves Pemberton Llewellyn Smith-Jones Khan Barlow "
        "Thornton Fairfax",
        cities="Leeds, Bristol, Norwich, Aberdeen, Swansea, Milton Keynes",
        forms="Ltd, LLP, plc, & Sons Ltd",
    ),
    _culture(
        "Spain",
        "es",
        "+34 91",
        women="María Begoña Lucía Inés Concepción Ángela Núria",
        men="Íñigo José Andrés Joaquín Martín Raúl Óscar",
        surnames="García Núñez Ibáñez Peña Gutiérrez Muñoz Domínguez Castaño Ordóñez Vázquez",
        cities="Logroño, Málaga, A Coruña, Cádiz, Almería",
        forms="S.L., S.A., S. Coop.",
    ),
    _culture(
        "Italy",
        "it",
        "+39 02",
        women="Chiara Giulia Ludovica Noemi Benedetta Francesca",
        men="Niccolò Giosuè Lorenzo Matteo Gianluca Davide",
        surnames="Rossi Esposito Ferraro D'Angelo Deluca Bianchi Marchetti Colombo Forlì",
        cities="Forlì, Torino, Bergamo, L'Aquila, Reggio Emilia",
        forms="S.r.l., S.p.A., S.n.c.",
    ),
    _culture(
        "Poland",
        "pl",
        "+48 22",
        women="Małgorzata Agnieszka Łucja Żaneta Zofia Bożena",
        men="Łukasz Paweł Michał Grzegorz Wojciech Stanisław",
        surnames="Kowalski/Kowalska Wiśniewski/Wiśniewska Wójcik Zieliński/Zielińska Dąbrowski/Dąbrowska Śliwa Żak "
        "Błaszczyk",
        cities="Łódź, Wrocław, Gdańsk, Kraków, Rzeszów",
        forms="Sp. z o.o., S.A., Sp. j.",
    ),
    _culture(
        "Czechia",
        "cs",
        "+420 2",
        women="Lenka Markéta Božena Šárka Zdeňka",
        men="Jiří Ondřej Tomáš Miloš Vojtěch",
        surnames="Novák/Nováková Dvořák/Dvořáková Procházka/Procházková Kučera/Kučerová Říha/Říhová Žižka/Žižková",
        cities="Plzeň, Brno, České Budějovice, Ústí nad Labem",
        forms="s.r.o., a.s., v.o.s.",
    ),
    _culture(
        "Sweden",
        "sv",
        "+46 8",
        women="Åsa Märta Ingrid Frida Linnéa Gunnel",
        men="Åke Göran Håkan Björn Torbjörn Nils",
        surnames="Öberg Åkesson Lindström Sjöberg Nyström Bäckman Hällgren Söderlund",
        cities="Göteborg, Malmö, Örebro, Jönköping, Umeå",
        forms="AB, HB, KB",
    ),
    _culture(
        "Türkiye",
        "tr",
        "+90 212",
        women="Ayşe Gülşen Çiğdem Işıl Zübeyde",
        men="Çağlar Oğuz Hüseyin Barış Gökhan",
        surnames="Yıldız Şahin Çelik Öztürk Kılıç Aydoğan Güneş",
        cities="Eskişehir, İzmir, Muğla, Kayseri",
        forms="A.Ş., Ltd. Şti.",
    ),
    _culture(
        "Ukraine",
        "uk",
        "+380 44",
        women="Олена Ганна Соломія Марія Ярослава Юлія",
        men="Тарас Богдан Олексій Андрій Дмитро Євген",
        surnames="Шевченко Коваленко Бондаренко Ткачук Мельник Кравець Яценко Лисенко",
        cities="Київ, Львів, Чернігів, Полтава",
        forms="ТОВ, ПрАТ, ФОП",
    ),
    _culture(
        "Bulgaria",
        "bg",
        "+359 2",
        women="Цветелина Гергана Радка Илияна Десислава",
        men="Георги Стоян Любомир Живко Асен",
        surnames="Иванов/Иванова Димитров/Димитрова Стоянов/Стоянова Желязков/Желязкова Чолаков/Чолакова",
        cities="София, Пловдив, Бургас, Велико Търново",
        forms="ООД, ЕООД, АД",
    ),
    _culture(
        "Greece",
        "el",
        "+30 21",
        women="Ελένη Κατερίνα Σοφία Χριστίνα Θεοδώρα",
        men="Γιώργος Νίκος Δημήτρης Θανάσης Χρήστος",
        surnames="Παπαδόπουλος/Παπαδοπούλου Νικολάου Γεωργίου Οικονόμου Μακρής/Μακρή Ψαρρός/Ψαρρού",
        cities="Αθήνα, Θεσσαλονίκη, Πάτρα, Ιωάννινα",
        forms="Α.Ε., Ε.Π.Ε., Ο.Ε.",
    ),
)

TRADES = (
    ("Metall", "Manufacturing"),
    ("Logistik", "Logistics"),
    ("Optics", "Manufacturing"),
    ("Ceramica", "Construction"),
    ("Timber", "Construction"),
    ("Software", "Information technology"),
    ("Data", "Information technology"),
    ("Pharma", "Health"),
    ("Medical", "Health"),
    ("Garden", "Agriculture"),
    ("Seeds", "Agriculture"),
    ("Hotels", "Tourism"),
    ("Travel", "Tourism"),
    ("Foods", "Food and drink"),
    ("Wine", "Food and drink"),
    ("Print", "Media"),
    ("Films", "Media"),
    ("Energie", "Energy"),
    ("Solar", "Energy"),
    ("Textil", "Trade"),
    ("Import", "Trade"),
    ("Consult", "Services"),
)
INDUSTRIES = tuple(sorted({industry for _, industry in TRADES}))
CLIENT_TYPES = ("Customer", "Prospect", "Distributor", "Supplier", "Former customer")
TAGS = ("Trade fair 2026", "Newsletter", "Key account", "Webinar", "Price list", "Christmas card")
TITLES = ("Managing director", "Head of purchasing", "Sales manager", "Engineer", "Office manager", "Owner", "", "")
SOURCES = ("Website", "Trade fair", "Recommendation", "Cold call", "Webinar")
