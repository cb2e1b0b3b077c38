"""
Samples of what is secret: keys by their look, secrets by the name that they stand under.

Every secret is put together from parts when the tests run, so that nothing in this repository
looks like one to a scanner.
"""

from __future__ import annotations

import base64
import hashlib
import re
import string
from collections.abc import Iterator

__all__ = [
    "AROUND",
    "KEYS",
    "MARK",
    "PERSONAL",
    "SECRETS",
    "base64_of",
    "fragments",
    "hexadecimal",
    "letters",
    "runs",
]

_LOWER, _UPPER, _DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
_MIXED = _LOWER + _UPPER + _DIGITS
_HEX = "0123456789abcdef"


def letters(count: int, of: str = _MIXED, *, seed: str = "") -> str:
    """So many letters that look drawn by chance, always the same; digits and capitals are early."""
    drawn = b""
    number = 0
    while len(drawn) < count:
        drawn += hashlib.sha512(f"{seed}{of}{number}".encode()).digest()
        number += 1
    text = "".join(of[byte % len(of)] for byte in drawn[:count])
    if of == _MIXED and count > 4:
        text = "a7" + text[2:4] + "Q" + text[5:]
    return text


def hexadecimal(count: int) -> str:
    return letters(count, _HEX)


def _caps(count: int) -> str:
    return letters(count, _UPPER + _DIGITS)


def _join(*parts: str) -> str:
    return "".join(parts)


def _uuid() -> str:
    return "-".join(hexadecimal(count) for count in (8, 4, 4, 4, 12))


def base64_of(count: int) -> str:
    return base64.b64encode(hashlib.shake_128(b"x").digest(count)).decode()


def _url64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


_JWT = ".".join(
    (_url64('{"alg":"HS256","typ":"JWT"}'), _url64('{"sub":"42","exp":1}'), letters(43))
)
_PRIVATE = _join("PRIVATE", " KEY")
_PEM = "\n".join(letters(64) for _ in range(4))
_PW = _join("hun", "ter2-Zx9")  # what somebody might choose
_BASIC = base64.b64encode(f"bob:{_PW}".encode()).decode()

# What keys look like, bare.
KEYS: dict[str, str] = {
    "openai": _join("sk", "-", letters(20), "T3Blbk", "FJ", letters(20)),
    "openai project": _join("sk", "-proj-", letters(48), "_", letters(20), "-", letters(20)),
    "openai service account": _join("sk", "-svcacct-", letters(60)),
    "openai admin": _join("sk", "-admin-", letters(60)),
    "openai session": _join("sess", "-", letters(40)),
    "anthropic": _join("sk", "-ant-", "api03-", letters(93), "AA"),
    "anthropic admin": _join("sk", "-ant-", "admin01-", letters(93), "AA"),
    "anthropic oauth": _join("sk", "-ant-", "oat01-", letters(80)),
    "openrouter": _join("sk", "-or-", "v1-", hexadecimal(64)),
    "deepseek": _join("sk", "-", hexadecimal(32)),
    "langfuse": _join("sk", "-lf-", _uuid()),
    "short sk": _join("sk", "-", "abc123", "DEF456"),
    "unknown sk": _join("sk", "-newco-", letters(32)),
    "letters only sk": _join("sk", "-", letters(24, _LOWER)),
    "google": _join("AI", "za", "Sy", letters(33)),
    "google, new form": _join("A", "Q.", "Ab8RN6", letters(40)),
    "google client secret": _join("GOC", "SPX-", letters(28)),
    "google access token": _join("ya", "29.", letters(60), "-", letters(20)),
    "google refresh token": _join("1/", "/0", letters(60)),
    "google code": _join("4/", "0A", letters(60)),
    "groq": _join("gs", "k_", letters(52)),
    "hugging face": _join("h", "f_", letters(34, _LOWER + _UPPER)),
    "hugging face organisation": _join("api", "_org_", letters(34, _LOWER + _UPPER)),
    "xai": _join("xa", "i-", letters(80)),
    "perplexity": _join("pp", "lx-", letters(48)),
    "cerebras": _join("cs", "k-", letters(48, _LOWER + _DIGITS)),
    "nvidia": _join("nv", "api-", letters(30), "_", letters(33)),
    "replicate": _join("r", "8_", letters(37)),
    "fireworks": _join("f", "w_", letters(24)),
    "fireworks, short": _join("f", "w_", letters(18)),
    "together": _join("tg", "p_v1_", letters(43)),
    "langsmith": _join("lsv2", "_pt_", hexadecimal(32), "_", hexadecimal(10)),
    "langsmith service": _join("lsv2", "_sk_", hexadecimal(32), "_", hexadecimal(10)),
    "tavily": _join("tv", "ly-", letters(32)),
    "tavily dev": _join("tv", "ly-", "dev-", letters(32)),
    "pinecone": _join("pc", "sk_", letters(6), "_", letters(60)),
    "jina": _join("ji", "na_", hexadecimal(32), letters(28)),
    "voyage": _join("p", "a-", letters(43)),
    "firecrawl": _join("f", "c-", hexadecimal(32)),
    "anyscale": _join("es", "ecret_", letters(26)),
    "runpod": _join("rp", "a_", _caps(40)),
    "wandb": _join("wan", "db_v1_", letters(60)),
    "e2b": _join("e2", "b_", hexadecimal(40)),
    "runway": _join("ke", "y_", hexadecimal(128)),
    "elevenlabs": _join("sk", "_", hexadecimal(48)),
    "aws": _join("AK", "IA", _caps(16)),
    "aws temporary": _join("AS", "IA", _caps(16)),
    "aws session token": _join(
        "IQo", "Jb3JpZ2luX2Vj", letters(200), "//////////wEaCXVz", letters(90), "=="
    ),
    "aws session token, older": _join("Fwo", "GZXIvYXdz", letters(180), "/", letters(80), "="),
    "bedrock": _join("AB", "SK", letters(120), "="),
    "bedrock, short-lived": _join("bedrock", "-api-key-", letters(60)),
    "alibaba": _join("LT", "AI", letters(20)),
    "tencent": _join("AK", "ID", letters(32)),
    "yandex": _join("AQ", "VN", letters(36)),
    "yandex oauth": _join("y", "0_", letters(55)),
    "digitalocean": _join("do", "p_v1_", hexadecimal(64)),
    "heroku": _join("HR", "KU-", "AA", letters(58)),
    "fly": _join("fm", "2_", letters(120), "="),
    "scaleway": _join("SC", "W", _caps(17)),
    "cloudflare": _join("cf", "ut_", letters(40)),
    "cloudflare origin": _join("v1", ".0-", hexadecimal(24), "-", hexadecimal(146)),
    "vercel": _join("vc", "p_", letters(56)),
    "netlify": _join("nf", "p_", letters(36)),
    "render": _join("rn", "d_", letters(32)),
    "supabase": _join("sb", "p_", hexadecimal(40)),
    "supabase secret": _join("sb", "_secret_", letters(31)),
    "neon": _join("na", "pi_", letters(64, _LOWER + _DIGITS)),
    "planetscale": _join("pscale", "_pw_", letters(43)),
    "databricks": _join("da", "pi", hexadecimal(32)),
    "databricks, numbered": _join("da", "pi", hexadecimal(32), "-2"),
    "doppler": _join("dp", ".pt.", letters(43)),
    "vault": _join("hv", "s.", letters(24), letters(70)),
    "vault batch": _join("hv", "b.", letters(140)),
    "vault, old": _join("s", ".", letters(24)),
    "pulumi": _join("pu", "l-", hexadecimal(40)),
    "1password": _join("op", "s_", "ey", "J", letters(250)),
    "1password secret": _join(
        "A", "3-", "-".join((_caps(6), _caps(6), *(_caps(5) for _ in range(4))))
    ),
    "tailscale": _join("ts", "key-", "auth-", letters(17), "-", letters(32)),
    "openshift": _join("sha256", "~", letters(43)),
    "age": _join("AGE-", "SECRET-", "KEY-1", letters(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L")),
    "nats seed": _join("S", "U", letters(56, _UPPER + "234567")),
    "nats account seed": _join("S", "A", letters(56, _UPPER + "234567")),
    "github": _join("gh", "p_", letters(36)),
    "github app": _join("gh", "s_", letters(36)),
    "github refresh": _join("gh", "r_", letters(76)),
    "github, fine-grained": _join("github", "_pat_", letters(22), "_", letters(59)),
    "gitlab": _join("gl", "pat-", letters(20)),
    "gitlab, routable": _join("gl", "pat-", letters(30), ".01.", letters(9, _LOWER + _DIGITS)),
    "gitlab runner": _join("gl", "rt-", letters(20)),
    "gitlab deploy": _join("gl", "dt-", letters(20)),
    "gitlab job": _join("gl", "cbt-", "64_", letters(20)),
    "bitbucket": _join("AT", "BB", letters(24), "0A1B2C3D"),
    "atlassian": _join("AT", "ATT3", letters(180), "=", "0A1B2C3D"),
    "npm": _join("np", "m_", letters(36)),
    "pypi": _join("py", "pi-", "AgE", "IcHlwaS5vcmc", letters(120)),
    "rubygems": _join("ruby", "gems_", hexadecimal(48)),
    "crates": _join("ci", "o", letters(32)),
    "nuget": _join("oy", "2", letters(43, _LOWER + _DIGITS)),
    "docker": _join("dckr", "_pat_", letters(27)),
    "docker organisation": _join("dckr", "_oat_", letters(32)),
    "jfrog": _join("AK", "Cp", letters(69)),
    "circleci": _join("CCI", "PAT_", letters(22), "_", hexadecimal(40)),
    "buildkite": _join("bk", "ua_", hexadecimal(40)),
    "postman": _join("PM", "AK-", hexadecimal(24), "-", hexadecimal(34)),
    "sonarqube": _join("sq", "p_", hexadecimal(40)),
    "sourcegraph": _join("sg", "p_", hexadecimal(16), "_", hexadecimal(40)),
    "prefect": _join("pn", "u_", letters(36)),
    "grafana": _join("gl", "sa_", letters(32), "_", hexadecimal(8)),
    "grafana cloud": _join("gl", "c_", letters(90), "="),
    "sentry": _join("sntr", "ys_", "ey", "J", letters(100), "_", letters(43)),
    "sentry user": _join("sntr", "yu_", hexadecimal(64)),
    "new relic": _join("NR", "AK-", _caps(27)),
    "dynatrace": _join("dt0", "c01.", _caps(24), ".", _caps(64)),
    "honeycomb": _join("hca", "ik_", letters(58, _LOWER + _DIGITS)),
    "posthog": _join("ph", "x_", letters(43)),
    "launchdarkly": _join("sd", "k-", _uuid()),
    "slack bot": _join(
        "xo", "xb-", letters(12, _DIGITS), "-", letters(13, _DIGITS), "-", letters(24)
    ),
    "slack user": _join(
        "xo", "xp-", letters(12, _DIGITS), "-", letters(12, _DIGITS), "-", letters(32)
    ),
    "slack app": _join(
        "xa", "pp-", "1-", _caps(11), "-", letters(13, _DIGITS), "-", hexadecimal(64)
    ),
    "slack cookie": _join("xo", "xd-", letters(60), "%2F", letters(20)),
    "slack refresh": _join("xo", "xe-", "1-", letters(146)),
    "discord": _join("M", letters(25), ".", letters(6), ".", letters(38)),
    "telegram": _join(letters(10, "123456789"), ":", "AA", letters(33)),
    "twilio": _join("S", "K", hexadecimal(32)),
    "sendgrid": _join("S", "G.", letters(22), ".", letters(43)),
    "mailgun": _join("ke", "y-", hexadecimal(32)),
    "mailchimp": _join(hexadecimal(32), "-", "us", "21"),
    "brevo": _join("xkey", "sib-", hexadecimal(64), "-", letters(16)),
    "resend": _join("r", "e_", letters(8), "_", letters(24)),
    "notion": _join("nt", "n_", letters(46)),
    "notion, old": _join("sec", "ret_", letters(43)),
    "linear": _join("lin", "_api_", letters(40)),
    "airtable": _join("pa", "t", letters(14), ".", hexadecimal(64)),
    "hubspot": _join("pa", "t-na1-", _uuid()),
    "figma": _join("fi", "gd_", letters(43)),
    "contentful": _join("CF", "PAT-", letters(43)),
    "dropbox": _join("s", "l.", letters(130)),
    "mapbox": _join("s", "k.ey", "J", letters(60), ".", letters(22)),
    "meta": _join("EA", "A", letters(160)),
    "meta app": _join(letters(15, "123456789"), "|", letters(27)),
    "stripe": _join("sk", "_live_", letters(24)),
    "stripe test": _join("sk", "_test_", letters(99)),
    "stripe restricted": _join("rk", "_live_", letters(24)),
    "stripe webhook": _join("wh", "sec_", letters(32)),
    "square": _join("sq0", "atp-", letters(22)),
    "shopify": _join("sh", "pat_", hexadecimal(32)),
    "plaid": _join("access", "-production-", _uuid()),
    "paypal": _join(
        "access_token", "$production$", letters(16, _LOWER + _DIGITS), "$", hexadecimal(32)
    ),
    "razorpay": _join("rzp", "_live_", letters(14)),
    "easypost": _join("EZ", "AK", letters(54)),
    "terraform": _join(letters(14), ".", "atlas", "v1.", letters(64)),
    "entra": _join(letters(3), "8", "Q~", letters(34)),
    "azure openai": _join(letters(52), "JQQ", "J99", "BFACYeBjFXJ3w3AAAB", letters(8)),
    "azure devops": _join(letters(52), "JQQ", "J99", "BCACAAAAAZg6lNAAAS", "AZ", "DO", letters(4)),
    "azure storage": _join(letters(76), "+A", "St", letters(6), "=="),
    "azure cosmos": _join(letters(76), "AC", "Db", letters(6), "=="),
    "x bearer": _join("A" * 20, letters(20), "%2F", letters(30), "%3D", letters(40)),
    "paseto": _join("v4", ".local.", letters(80)),
    "jwt": _JWT,
    "jwe": ".".join((_url64('{"alg":"dir"}'), "", letters(16), letters(40), letters(22))).replace(
        "..", ".x4aQ."
    ),
    "jwt, cut": _url64('{"alg":"RS256","kid":"7"}'),
    "jwt in base64": base64.b64encode(_JWT.encode()).decode().rstrip("="),
    "bcrypt": _join("$2", "b$12$", letters(53)),
    "argon2": _join("$argon", "2id$v=19$m=65536$", letters(22), "$", letters(43)),
    "sha512-crypt": _join("$6", "$", letters(16), "$", letters(86)),
    "pbkdf2": _join("pbkdf2", "_sha256$600000$", letters(22), "$", letters(43), "="),
    "helicone": _join("sk", "-helicone-", letters(30)),
    "heygen": _join("sk", "_V2_", letters(50)),
    "scalingo": _join("tk", "-us-", letters(48)),
    "infisical": _join("st", ".", hexadecimal(24), ".", hexadecimal(32), ".", hexadecimal(32)),
    "clojars": _join("CLO", "JARS_", letters(60)),
    "octopus": _join("AP", "I-", _caps(26)),
    "harness": _join("pa", "t.", letters(22), ".", letters(24), ".", letters(20)),
    "dbt": _join("db", "tc_", letters(40)),
    "readme": _join("rd", "me_", letters(70, _LOWER + _DIGITS)),
    "infracost": _join("ic", "o-", letters(32)),
    "statsig": _join("sec", "ret-", letters(43)),
    "typeform": _join("tf", "p_", letters(44), "_", letters(14)),
    "square access": _join("EA", "AA", letters(60)),
    "flutterwave": _join("FLW", "SECK_TEST-", hexadecimal(32), "-X"),
    "frame.io": _join("fio", "-u-", letters(64)),
    "adobe": _join("p8", "e-", letters(32)),
    "macaroon": _join("MD", "Ax", letters(120)),
    "maxmind": _join(letters(6), "_", letters(29), "_m", "mk"),
    "azure functions": _join(letters(44), "Az", "Fu", letters(6), "=="),
    "azure search": _join(letters(42), "Az", "Se", letters(6)),
    "azure iot": _join(letters(33), "AI", "oT", letters(6), "="),
    "werkzeug": _join("scr", "ypt:32768:8:1$", letters(16), "$", hexadecimal(128)),
    "bip32": _join(
        "xp", "rv", letters(107, "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
    ),
}

# Where a key may stand.
AROUND = (
    "{}",
    "the key {} was refused",
    "({})",
    '"{}"',
    "a={},b",
    "https://h.example.org/x/{}/y",
    "line\\n{}\\n",
    "q%3D{}%26",
    "\\u003d{}\\u0026",
    "\x1b[31m{}\x1b[0m",
    "my_{}",
)

# Where a secret stands that has no look of its own; the second is what has to go.
NAMED: tuple[tuple[str, str], ...] = (
    ("password={}", _PW),
    ("password = {}", _PW),
    ("password: {}", _PW),
    ("Password: {} is bad", _PW),
    ('password="{}"', _PW),
    ("password='{}'", _PW),
    ("{{'password': '{}'}}", _PW),
    ('{{"password": "{}", "user": "bob"}}', _PW),
    ('{{"password":"{}"}}', _PW),
    ('{{\\"password\\":\\"{}\\"}}', _PW),
    ('{{\\\\\\"password\\\\\\":\\\\\\"{}\\\\\\"}}', _PW),
    ("&quot;password&quot;:&quot;{}&quot;", _PW),
    ("&#34;password&#34;: &#34;{}&#34;", _PW),
    ("&#39;password&#39;: &#39;{}&#39;", _PW),
    ("%22password%22%3A%22{}%22", _PW),
    ("password%3D{}%26user%3Dbob", _PW),
    ("%7B%22password%22%3A%20%22{}%22%7D", _PW),
    ("%2522password%2522%253A%2522{}%2522", _PW),
    ("\\u0022password\\u0022:\\u0022{}\\u0022", _PW),
    ("\\u0027token\\u0027: \\u0027{}\\u0027", _PW),
    ('password="{}"', 'a\\"' + _PW),
    ("password='{}'", "it\\'s" + _PW),
    ('"password": "{}"', "a b " + _PW),
    ("password={} host=db", "p&" + _PW),
    ("password={} host=db", "p;" + _PW),
    ("password={} host=db", "p," + _PW),
    ("password={} host=db", "p/" + _PW),
    ("password={} host=db", "p\\" + _PW),
    ("password={} host=db", "p%" + _PW),
    ("Server=db;User Id=sa;Password={};Encrypt=true", _PW),
    ("DRIVER=x;UID=sa;PWD={};DATABASE=y", _PW),
    ("AccountName=a;AccountKey={};EndpointSuffix=core.windows.net", base64_of(64)),
    ("Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey={}", base64_of(32)),
    ("Ocp-Apim-Subscription-Key: {}", hexadecimal(32)),
    ("{{'ocp-apim-subscription-key': '{}'}}", hexadecimal(32)),
    ("api-key: {}", hexadecimal(32)),
    ("x-api-key: {}", letters(20)),
    ("X-Goog-Api-Key: {}", letters(20)),
    ("X-Vault-Token: {}", letters(20)),
    ("PRIVATE-TOKEN: {}", letters(20)),
    ("OPENAI_API_KEY={}", "abc"),
    ("MISTRAL_API_KEY={}", letters(32)),
    ("export AWS_SECRET_ACCESS_KEY={}", letters(40)),
    ("aws_secret_access_key = {}", letters(40)),
    ("DATABASE_PASSWORD={}", _PW),
    ("PGPASSWORD={} psql", _PW),
    ("MYSQL_PWD={} mysql", _PW),
    ("DB_PASS={}", _PW),
    ("db.pass={}", _PW),
    ("environ({{'API_TOKEN_2': '{}'}})", _PW),
    ('os.environ["SECRET_KEY"] = "{}"', _PW),
    ("config['password'] = '{}'", _PW),
    ('token: str = "{}"', _PW),
    ('password: SecretStr = "{}"', _PW),
    ("client_secret={}", _PW),
    ("clientSecret: '{}'", _PW),
    ("grant_type=password&username=bob&password={}", _PW),
    ("refresh_token={}&grant_type=refresh_token", _PW),
    ('"refreshToken":"{}"', _PW),
    ("id_token={}", _PW),
    ("https://h/cb?access_token={}&state=1", _PW),
    ("https://h/p?api_key={}&z=2", "1aQ4x"),
    ("https://h/p?sig={}&z=2", "ab%2F9x"),
    ("https://h/p?X-Amz-Algorithm=A&X-Amz-Signature={}", hexadecimal(64)),
    ("https://h/p?X-Amz-Security-Token={}&X", letters(80)),
    ("https://h/p?X-Goog-Signature={}", hexadecimal(256)),
    ("https://h/p?Expires=1&Signature={}&Key-Pair-Id=K", letters(60)),
    ("https://a.azurewebsites.net/api/f?code={}", letters(54)),
    ("https://h/p?key={}", letters(24)),
    ("https://h/p?sv=2024&se=x&sp=r&sig={}", letters(43) + "%3D"),
    ("Credential={}/20261128/us-east-1/s3/aws4_request, Sig", _caps(20)),
    ("AWS4-HMAC-SHA256 SignedHeaders=host, Signature={}", hexadecimal(64)),
    ("<SessionToken>{}</SessionToken>", letters(60)),
    ("<SecretAccessKey>{}</SecretAccessKey>", letters(40)),
    ("<wsse:Password Type='x'>{}</wsse:Password>", _PW),
    ("&lt;SessionToken&gt;{}&lt;/SessionToken&gt;", letters(60)),
    ('<add key="Password" value="{}"/>', _PW),
    ('<input type="password" name="password" value="{}">', _PW),
    ('{{"name": "DB_PASSWORD", "value": "{}"}}', _PW),
    ("- name: DB_PASSWORD\n  value: {}\n", _PW),
    ("password: |\n  {}\nuser: bob", _PW),
    ("password: >-\n    {}\n    more-of-it\nuser: bob", _PW),
    ("private_key: |-\n  {}\n", letters(64)),
    ("password: |\\n  {}\\n", _PW),
    ("a:\n  b:\n    secret: >\n      {}\n    c: 1", _PW),
    ('password = """{}"""', _PW),
    ("password=`{}`", _PW),
    ('"api_keys": ["{}", "x"]', letters(20)),
    ("api_keys=['{}']", letters(20)),
    ("auth=('bob', '{}')", _PW),
    ("BasicAuth(login='bob', password='{}')", _PW),
    ("Authorization: Basic {}", _BASIC),
    ("Authorization: Bearer {}", "abcdef"),
    ("authorization: Token {}", letters(40)),
    ("Authorization: {}", letters(30)),
    ("Proxy-Authorization: Basic {}", _BASIC),
    ("{{'authorization': 'Bearer {}'}}", letters(30)),
    ("('authorization', 'Bearer {}')", letters(30)),
    ("(b'authorization', b'Bearer {}')", letters(30)),
    ("[b'authorization', b'Bearer {}']", letters(30)),
    ("('x-api-key', '{}')", letters(30)),
    ('Authorization: Digest username="bob", response={}', hexadecimal(32)),
    ("got Basic {} there", _BASIC),
    ("got Bearer {} there", letters(30)),
    ("bearer%20{}", letters(30)),
    ("Bearer+{}", letters(30)),
    ("-H 'Authorization: Bearer {}'", letters(30)),
    ("curl -u bob:{} https://h", _PW),
    ("curl --user 'bob:{}' https://h", _PW),
    ("Command '['curl', '-u', 'bob:{}', 'https://h']' returned 22", _PW),
    ("Command '['mysql', '--password', '{}']' returned 1", _PW),
    ("['tool', '--api-key', '{}']", letters(12)),
    ("tool --password {} --host h", _PW),
    ("tool --token={} --host h", _PW),
    ("machine h login bob password {}", _PW),
    ("sshpass -p '{}' ssh h", _PW),
    ("mysqldump -u root -p{} db", _PW),
    ("docker login -u bob -p {} registry", _PW),
    ("redis-cli -h h -a {} ping", _PW),
    ("ENV API_KEY {}", letters(16)),
    ("the token {} was refused", letters(16)),
    ("db_pass: {}", "swordfish"),
    ("password: {}", "swordfish"),
    ("ssid=x psk={}", _PW),
    ("laravel_session={}; path=/", letters(40)),
    ("SAMLResponse={}&RelayState=x", letters(80)),
    ("xsrf={}", letters(20)),
    ("auth_code={}", letters(20)),
    ("//registry.npmjs.org/:_authToken={}", letters(20)),
    ("_auth={}", _BASIC),
    ("Cookie: sessionid={}; theme=dark", letters(32)),
    ("Set-Cookie: sid={}; Path=/; HttpOnly", letters(32)),
    ("{{'cookie': 'a={}'}}", letters(32)),
    ("sessionid={}", letters(32)),
    ("JSESSIONID={}", _caps(32)),
    ("PHPSESSID={}", letters(26, _LOWER + _DIGITS)),
    ("session_id={}", letters(32)),
    ("connect.sid={}", letters(32)),
    ("csrftoken={}", letters(32)),
    ("X-CSRF-Token: {}", letters(32)),
    ('connectionString="Server=h;Database=d;Uid=u;Key={}"', letters(20)),
    ("jdbc:oracle:thin:scott/{}@//h:1521/x", _PW),
    ("CREATE USER bob WITH PASSWORD '{}'", _PW),
    ("ALTER USER bob IDENTIFIED WITH x AS password '{}'", _PW),
    ("Incorrect API key provided: {}. You can find", letters(24)),
    ("invalid access token: {}", letters(24)),
    ("The password '{}' is wrong", _PW),
    ("Settings(token_secret='{}', jwks='')", letters(32)),
    ("User(name='bob', hashed_password='{}')", letters(32)),
    ("passwort: {}", _PW),
    ("contraseña={}", _PW),
    ("otp_code={}", "493027"),
    ("cvv={}", "9471"),
    ('pin="{}"', "4471"),
    ("PASSWORD={}", "123456"),
    ('"password": "{}"', "123456"),
    ("token={}", "493027"),
    ("mnemonic_phrase='{}'", "legal winner thank year wave sausage"),
    ("token: 'must be set', password={}", _PW),
    ('{{"message": "password={}"}}', _PW),
    ("password: [redacted:secret], token={}", _PW),
    ("password=\n  '{}'", _PW),
    ("nats://bob:{}@db:4222", _PW),
    ("nats://bob:{}@db:4222", "p/" + _PW),
    ("nats://bob:{}@db:4222", "p@" + _PW),
    ("nats://bob:{}@db:4222", "p%2F" + _PW),
    ("nats://bob:{}@db:4222", "p@s/w%" + _PW),
    ("nats://bob:{}@db:4222", "p#" + _PW),
    ("nats://bob:{}@db:4222", "p?" + _PW),
    ("nats://bob:{}@db:4222", "p:" + _PW),
    ("nats://bob:{}@db:4222", "12/" + _PW),
    ("nats://bob:{}@a:4222,nats://b:4222", _PW),
    ("nats://a:4222,nats://bob:{}@b:4222", "p/" + _PW),
    ("redis://:{}@db", _PW),
    ("postgresql+asyncpg://bob:{}@db.example.org:5432/x?ssl=1", _PW),
    ("mongodb+srv://bob:{}@c.example.org/x", _PW),
    ("amqps://bob:{}@h/%2f", _PW),
    ("https://{}@github.com/a/b.git", letters(40)),
    ("https://{}:x-oauth-basic@github.com/a/b.git", letters(40)),
    ("https://x-access-token:{}@github.com/a/b", letters(40)),
    ("https://{}@o1.ingest.sentry.io/42", hexadecimal(32)),
    ("https://{}:@api.example.org", letters(20)),
    ("nats%3A%2F%2Fbob%3A{}%40db%3A4222", _PW),
    ("bob:{}@db:5432 refused", _PW),
    ("https://hooks.slack.com/services/{}", _join(_caps(9), "/", _caps(11), "/", letters(24))),
    ("https://hooks.slack.com/workflows/{}", _join(_caps(9), "/", _caps(11), "/", letters(24))),
    ("https://discord.com/api/webhooks/{}", _join(letters(18, _DIGITS), "/", letters(68))),
    ("https://discordapp.com/api/v10/webhooks/{}", _join(letters(18, _DIGITS), "/", letters(68))),
    ("https://api.telegram.org/bot{}/sendMessage", _join(letters(10, _DIGITS), ":AA", letters(33))),
    (
        "https://x.webhook.office.com/webhookb2/{}",
        _join(_uuid(), "@", _uuid(), "/", hexadecimal(32), "/", _uuid()),
    ),
    ("https://hooks.zapier.com/hooks/catch/{}/", _join(letters(7, _DIGITS), "/", letters(7))),
    ("https://hook.eu1.make.com/{}", letters(32)),
    ("https://maker.ifttt.com/trigger/x/with/key/{}", letters(22)),
    ("https://open.feishu.cn/open-apis/bot/v2/hook/{}", _uuid()),
    ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={}", _uuid()),
    ("https://oapi.dingtalk.com/robot/send?access_token={}", hexadecimal(64)),
    (
        "https://chat.googleapis.com/v1/spaces/AAA/messages?{}",
        _join("key=", letters(39), "&token=", letters(43)),
    ),
    ("https://script.google.com/macros/s/{}/exec", letters(60)),
    ("https://events.pagerduty.com/integration/{}/enqueue", hexadecimal(32)),
    ("https://mm.example.org/hooks/{}", letters(26, _LOWER + _DIGITS)),
    (
        "https://x.logic.azure.com/workflows/1/triggers/m/paths/invoke?sp=x&sv=1.0&sig={}",
        letters(43),
    ),
    # --- as languages, libraries and terminals print them
    ('password: Some("{}")', _PW),
    ("setPassword('{}')", _PW),
    ('client.with_api_key("{}")', letters(24)),
    ("ApiKey('{}')", letters(24)),
    ("['Host', 'h', 'X-Api-Key', '{}']", letters(24)),
    ('"tokens": [\n    "{}",\n    "x"]', letters(24)),
    ('{{"secret": {{"value": "{}"}}}}', _PW),
    ('{{\n "token": {{\n  "raw": "{}"}}}}', letters(24)),
    ("tokens:\n  - {}\n  - b8Zk2nQw0x\n", letters(24)),
    ("api_key:\n  {}\n", letters(24)),
    ("password:\n  value: {}\n", _PW),
    ("password: &main {}\n", _PW),
    ("password: !!str {}\n", _PW),
    ("<SimpleCookie: sessionid='{}'>", letters(32)),
    ("\x1b[36mtoken\x1b[0m=\x1b[35m{}\x1b[0m", letters(24)),
    ("\x1b[1mtoken\x1b[0m: \x1b[32m{}\x1b[0m", letters(24)),
    ("password:\u00a0{}", _PW),
    ("password：{}", _PW),
    ("密码：{}", _PW),
    ("пароль={}", _PW),
    ("| password | {} |", _PW),
    ("password_confirmation={}&x=1", _PW),
    ("jwt={}", letters(24)),
    ("GITHUB_PAT={}", hexadecimal(40)),
    ("creds=bob:{}", _PW),
    ("code_verifier={}", letters(43)),
    ("Sec-WebSocket-Protocol: bearer, {}", letters(24)),
    ("subprotocols=['bearer', '{}']", letters(24)),
    ("https://h/reset-password/{}", letters(32)),
    ("https://h/invite/{}?x=1", letters(32)),
    (
        "1 validation error for Login\npassword\n  String should have at least 12 characters "
        "[type=string_too_short, input_value='{}', input_type=str]",
        _PW,
    ),
    ('form-data; name="password"\r\n\r\n{}\r\n--x', _PW),
    ("CREATE USER 'bob'@'h' IDENTIFIED BY '{}'", _PW),
    ("SET PASSWORD FOR 'bob'@'h' = '{}'", _PW),
    ("AUTH PLAIN {}", base64.b64encode(f"\0bob\0{_PW}".encode()).decode()),
    ("az login -u x -p {} --tenant t", _PW),
    ("7z x -p{} a.7z", _PW),
    ("unzip -P {} a.zip", _PW),
    ("smbclient //h/s -U 'bob%{}'", _PW),
    ('{{"kty": "EC", "x": "a", "d": "{}"}}', letters(43)),
    ('{{"kty":"oct","k":"{}"}}', letters(43)),
    (_join("AK", "IA", _caps(16), ":{}"), letters(40)),
    ("bob:$apr1$abc$a{}", letters(22)),
    (_JWT.split(".")[0] + ".\n{}", _JWT.partition(".")[2]),
    (_JWT[:60] + "\n{}", _JWT[60:]),
    (_JWT.split(".")[0] + "..{}", _join(letters(16), ".", letters(80), ".", letters(22))),
    (f"---- BEGIN SSH2 ENCRYPTED {_PRIVATE} ----\n{{}}\n---- END SSH2", _PEM),
    (f"-----BEGIN RSA {_PRIVATE}-----\n{{}}\n-----END RSA {_PRIVATE}-----", _PEM),
    (f"-----BEGIN {_PRIVATE}-----\\n{{}}\\n-----END {_PRIVATE}-----", letters(64)),
    (f"-----BEGIN OPENSSH {_PRIVATE}-----\n{{}}", _PEM),
    (f"-----BEGIN PGP {_PRIVATE} BLOCK-----\n\n{{}}", _PEM),
    (f"{{}}\n-----END RSA {_PRIVATE}-----", _PEM),
    (
        "-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------",
        letters(58, _UPPER + "234567"),
    ),
    (
        "PuTTY-User-Key-File-3: ssh-rsa\nPrivate-Lines: 2\n{}\nPrivate-MAC: 1",
        letters(64) + "\n" + letters(40),
    ),
)

PERSONAL: tuple[tuple[str, str], ...] = (
    ("to {} failed", "alice.smith+x@example.co.uk"),
    ("to <{}>", "a@b.example.org"),
    ("mailto:{}", "alice@example.org"),
    ("user=alice%40example.org", "alice%40example.org"),
    ("alice&#64;example.org", "alice&#64;example.org"),
    ("alice\\u0040example.org", "alice\\u0040example.org"),
    ("{} is unknown", "jürgen@exämple.de"),
    ("line\\n{}", "bob@example.org"),
    ("card {} declined", "4111111111111111"),
    ("card {} declined", "4111 1111 1111 1111"),
    ("card {} declined", "4111-1111-1111-1111"),
    ("card {} declined", "378282246310005"),
    ("card {} declined", "3782 822463 10005"),
    ("card {} declined", "5555555555554444"),
    ("card {} declined", "6011111111111117"),
    ("card {} declined", "3530111333300000"),
    ("card {} declined", "30569309025904"),
    ("card {} declined", "2223003122003222"),
    ('"card":"{}"', "4242424242424242"),
    ("to {} now", "DE89370400440532013000"),
    ("to {} now", "DE89 3704 0044 0532 0130 00"),
    ("to {} now", "GB29 NWBK 6016 1331 9268 19"),
    ("to {} NOW OR NEVER", "NO93 8601 1117 947"),
    ("to {} now", "MT84MALT011000012345MTLCAST001S"),
    ("/home/{}/app/x.py:12", "alice"),
    ('File "/home/{}/x.py", line 1', "alice"),
    ("/Users/{}/Library", "alice"),
    ("'/home/{}'", "alice"),
    ("C:\\Users\\{}\\AppData", "alice"),
    ("C:\\\\Users\\\\{}\\\\AppData", "alice"),
    ("c:/Users/{}/x", "alice"),
    ("file:///home/{}/x", "alice"),
    ("/mnt/c/Users/{}/x", "alice"),
    ("HOME=/home/{}", "alice"),
)


def _all() -> Iterator[tuple[str, str, str]]:
    for name, key in KEYS.items():
        yield name, f"the key {key} was refused", key
    for number, (form, secret) in enumerate(NAMED):
        yield f"named {number}: {form}"[:80], form.format(secret), secret
    for number, (form, secret) in enumerate(PERSONAL):
        text = form.replace("{}", secret)
        yield f"personal {number}: {form}", text, secret


# Name, text, and what must not be left of it.
SECRETS: tuple[tuple[str, str, str], ...] = tuple(_all())


MARK = re.compile(r"\[redacted:[a-z-]+\]")


def runs(secret: str, size: int = 8) -> set[str]:
    """All runs of so many letters and digits that no escape changes, and that are no word."""
    plain = re.findall(r"[A-Za-z0-9]+", secret)
    found = {part[at : at + size] for part in plain for at in range(len(part) - size + 1)}
    return {run for run in found if re.search(r"[0-9A-Z]", run)}


def fragments(secret: str, size: int = 6) -> set[str]:
    """All runs of so many letters; of a short secret itself."""
    size = min(size, len(secret))
    return {secret[at : at + size] for at in range(len(secret) - size + 1)}
