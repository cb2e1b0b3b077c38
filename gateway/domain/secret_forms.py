"""
Secret forms: what keys and tokens of known issuers look like, one row each.

A row is known by its beginning, so that a text is looked through once, word by word, whatever the
number of rows. The few forms that have no beginning of their own are known by something else that
is in every one of them (``AROUND``). The forms are those that their issuers document; that of most
is also in the rules of gitleaks (MIT), which scans repositories. A library of such rules was
tried and dropped: the quickest took 20 ms for 8 KiB of text, and tells only that a secret is
there, not where.

A form that a longer text could meet by chance (base64 of a picture, a hash) does not belong here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["AROUND", "FORMS", "Around", "Form", "Span", "keys_in"]

# Where a secret begins and ends, and its kind.
Span = tuple[int, int, str]


class Form(NamedTuple):
    """
    The keys of one issuer.

    Attributes:
        issuer: Who issues them, and what they are where that is not plain.
        begins: What every one begins with; one of these.
        rest: What follows, as a regular expression that takes linear time.
        source: Where the form is documented.
    """

    issuer: str
    begins: tuple[str, ...]
    rest: str
    source: str


class Around(NamedTuple):
    """
    Keys that are known by something inside them.

    Attributes:
        issuer: As in ``Form``.
        has: One of these is in every such key; it is found first.
        pattern: The key from there on; where it has a group, the group alone is the secret.
        source: As in ``Form``.
        before: The key up to there.
        back: How many letters that are at the most.
        kind: As what it is shown.
    """

    issuer: str
    has: tuple[str, ...]
    pattern: str
    source: str
    before: str = ""
    back: int = 0
    kind: str = "api-key"


# Letters of base64 that is safe in addresses, of plain base64, and of hexadecimal numbers.
_W, _B, _H = r"[\w-]", r"[A-Za-z0-9+/]", r"[0-9a-f]"
_UUID = rf"{_H}{{8}}-{_H}{{4}}-{_H}{{4}}-{_H}{{4}}-{_H}{{12}}"
# A digit follows soon: a word of a language has none.
_DIGIT = r"(?=[A-Za-z_-]{0,40}[0-9])"

_GITLEAKS = "gitleaks config/gitleaks.toml"

FORMS: tuple[Form, ...] = (
    # --- models and what agents use -------------------------------------------------------------
    Form(
        "OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse, LiteLLM",
        ("sk-",),
        # Not sk-learn-based: a part of it with a digit among six letters, or of sixteen letters.
        rf"(?:(?:proj|ant|or|svcacct|service|admin|lf|None|live|test)-{_W}{{6,}}"
        r"|(?=[A-Za-z]{0,20}[0-9])[A-Za-z0-9]{6,}|[A-Za-z0-9]{16,}"
        r"|[a-z]{1,10}-(?=[A-Za-z]{0,30}[0-9])[A-Za-z0-9]{16,})",
        "platform.openai.com, docs.anthropic.com, openrouter.ai/docs",
    ),
    Form("OpenAI sessions", ("sess-",), r"[A-Za-z0-9]{40}", "platform.openai.com"),
    Form("Google API", ("AIza",), rf"{_W}{{20,}}", "cloud.google.com/docs/authentication/api-keys"),
    Form("Google API, bound to an account", ("AQ.",), rf"(?=.{{0,9}}[A-Z0-9]){_W}{{20,}}",
         "ai.google.dev/gemini-api/docs/api-key"),
    Form("Google OAuth client", ("GOCSPX-",), rf"{_W}{{20,}}",
         "developers.google.com/identity/protocols/oauth2"),
    Form("Google access token", ("ya29.",), r"[\w.-]{8,}",
         "developers.google.com/identity/protocols/oauth2"),
    Form("Groq", ("gsk_",), r"[A-Za-z0-9]{16,}", "console.groq.com/docs"),
    Form("Hugging Face", ("hf_", "api_org_"), r"[A-Za-z0-9]{20,}",
         "huggingface.co/docs/hub/security-tokens"),
    Form("xAI", ("xai-",), r"[A-Za-z0-9]{16,}", "docs.x.ai"),
    Form("Perplexity", ("pplx-",), r"[A-Za-z0-9]{16,}", "docs.perplexity.ai"),
    Form("Cerebras", ("csk-",), r"[A-Za-z0-9]{20,}", "inference-docs.cerebras.ai"),
    Form("NVIDIA", ("nvapi-",), rf"{_W}{{20,}}", "docs.api.nvidia.com"),
    Form("Replicate", ("r8_",), r"[A-Za-z0-9]{20,}", "replicate.com/docs/reference/http"),
    Form("Fireworks", ("fw_",), rf"{_DIGIT}[A-Za-z0-9]{{16,}}|[A-Za-z0-9]{{22,}}",
         "docs.fireworks.ai"),
    Form("Together", ("tgp_v1_",), rf"{_W}{{20,}}", "docs.together.ai"),
    Form("LangSmith", ("lsv2_pt_", "lsv2_sk_", "ls__"), r"[A-Za-z0-9]{16,}(?:_[A-Za-z0-9]+)*",
         "docs.smith.langchain.com"),
    Form("Tavily", ("tvly-",), rf"{_W}{{16,}}", "docs.tavily.com"),
    Form("Pinecone", ("pcsk_",), rf"{_W}{{20,}}", "docs.pinecone.io"),
    Form("Jina", ("jina_",), rf"{_W}{{32,}}", "jina.ai/embeddings"),
    Form("Voyage", ("pa-",), rf"(?=[A-Za-z_-]{{0,40}}[0-9])(?=[a-z0-9_-]{{0,40}}[A-Z]){_W}{{40,}}",
         "docs.voyageai.com"),
    Form("Firecrawl", ("fc-",), rf"{_H}{{32}}", "docs.firecrawl.dev"),
    Form("Anyscale", ("esecret_",), r"[A-Za-z0-9]{20,}", "docs.anyscale.com"),
    Form("RunPod", ("rpa_",), r"[A-Z0-9]{30,}", "docs.runpod.io"),
    Form("Weights & Biases", ("wandb_v1_",), rf"{_W}{{20,}}", "docs.wandb.ai"),
    Form("E2B", ("e2b_",), rf"{_H}{{32,}}", "e2b.dev/docs"),
    Form("Runway", ("key_",), rf"{_H}{{64,}}", "docs.dev.runwayml.com"),
    Form("ElevenLabs", ("sk_",), rf"{_H}{{40,}}", "elevenlabs.io/docs"),
    Form("HeyGen", ("sk_V2_",), rf"{_W}{{20,}}", "docs.heygen.com"),
    # --- clouds -----------------------------------------------------------------------------------
    Form("AWS access key", ("AKIA", "ASIA", "ABIA", "ACCA"),
         r"[0-9A-Z]{12,}(?:[:/][A-Za-z0-9+/]{40}(?![A-Za-z0-9+/]))?",
         "docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html"),
    Form("AWS session token", ("IQoJb3JpZ2luX2Vj", "FwoGZXIvYXdz", "FQoGZXIvYXdz", "AQoDYXdz"),
         r"[A-Za-z0-9+/=%_-]{16,}", "docs.aws.amazon.com/STS"),
    Form("AWS Bedrock, short-lived", ("bedrock-api-key-",), r"[A-Za-z0-9+/=_-]{16,}",
         "docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html"),
    Form("Alibaba", ("LTAI",), r"[A-Za-z0-9]{12,26}(?![A-Za-z0-9])", _GITLEAKS),
    Form("Tencent", ("AKID",), r"[A-Za-z0-9]{28,36}(?![A-Za-z0-9])", "cloud.tencent.com"),
    Form("Yandex", ("AQVN", "y0_", "t1."), rf"(?=.{{0,20}}[A-Z]){_W}{{35,}}[.=\w-]*", _GITLEAKS),
    Form("DigitalOcean", ("dop_v1_", "doo_v1_", "dor_v1_"), rf"{_H}{{32,}}",
         "docs.digitalocean.com/reference/api"),
    Form("Heroku", ("HRKU-",), rf"{_W}{{30,}}", "devcenter.heroku.com"),
    Form("Scaleway", ("SCW",), r"[A-Z0-9]{17}(?![A-Z0-9])", "scaleway.com/en/docs"),
    Form("Scalingo", ("tk-us-",), rf"{_W}{{40,}}", _GITLEAKS),
    Form("Cloudflare", ("cfut_", "cfat_", "cfk_"), rf"{_W}{{32,}}", "developers.cloudflare.com"),
    Form("Cloudflare origin CA", ("v1.0-",), rf"{_H}{{24}}-{_H}{{64,}}", _GITLEAKS),
    Form("Vercel", ("vcp_", "vci_", "vca_", "vcr_", "vck_", "vercel_blob_rw_"), rf"{_W}{{20,}}",
         "vercel.com/docs/rest-api"),
    Form("Netlify", ("nfp_", "nfc_", "nfo_", "nfb_", "nfu_"), r"[A-Za-z0-9]{30,}",
         "docs.netlify.com"),
    Form("Render", ("rnd_",), r"[A-Za-z0-9]{24,}", "render.com/docs/api"),
    Form("Supabase", ("sbp_", "sb_secret_", "sb_publishable_"), rf"{_DIGIT}{_W}{{20,}}",
         "supabase.com/docs/guides/api/api-keys"),
    Form("Neon", ("napi_",), r"[a-z0-9]{32,}", "neon.tech/docs"),
    Form("PlanetScale", ("pscale_tkn_", "pscale_oauth_", "pscale_pw_"), r"[\w=.-]{20,}",
         _GITLEAKS),
    Form("Databricks", ("dapi", "dkea", "dose", "dsapi"), rf"{_H}{{32}}(?:-[0-9])?(?![A-Za-z0-9])",
         "docs.databricks.com/dev-tools/auth/pat"),
    Form("Doppler", ("dp.pt.", "dp.st.", "dp.ct.", "dp.sa.", "dp.scim.", "dp.audit."),
         r"[\w.-]{20,}", "docs.doppler.com"),
    Form("HashiCorp Vault", ("hvs.", "hvb.", "hvr."), rf"{_W}{{20,}}",
         "developer.hashicorp.com/vault/docs/concepts/tokens"),
    Form("HashiCorp Vault until 1.9", ("s.", "b."), r"(?=[a-z0-9]{0,23}[A-Z])[A-Za-z0-9]{24}(?!\w)",
         "developer.hashicorp.com/vault/docs/concepts/tokens"),
    Form("Pulumi", ("pul-",), rf"{_H}{{40}}", _GITLEAKS),
    Form("1Password service account", ("ops_",), r"eyJ[A-Za-z0-9+/=_-]{40,}", _GITLEAKS),
    Form("1Password secret", ("A3-",),
         r"[A-Z0-9]{6}-[A-Z0-9]{5,11}-(?:[A-Z0-9]{5}-){2,3}[A-Z0-9]{5}",
         _GITLEAKS),
    Form("Infisical", ("st.",), rf"{_H}{{20,}}\.{_H}{{20,}}[\w.]*", "infisical.com/docs"),
    Form("Tailscale", ("tskey-",), rf"{_W}{{12,}}", "tailscale.com/kb/1277/key-prefixes"),
    Form("OpenShift", ("sha256~",), rf"{_W}{{40,}}", _GITLEAKS),
    Form("age", ("AGE-SECRET-KEY-1",), r"[A-Z0-9]{40,}", "age-encryption.org"),
    Form("NATS seeds", ("SU", "SA", "SN", "SO", "SC", "SX"), r"[A-Z2-7]{56}(?![A-Z2-7])",
         "docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth"),
    # --- code, packages, builds -------------------------------------------------------------------
    Form("GitHub", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"[A-Za-z0-9_]{8,}",
         "docs.github.com/authentication/keeping-your-account-and-data-secure"),
    Form("GitHub, fine-grained", ("github_pat_",), r"\w{8,}", "docs.github.com/authentication"),
    Form(
        "GitLab",
        ("glpat-", "gldt-", "glrt-", "glrtr-", "glptt-", "glcbt-", "glft-", "glimt-", "glagent-",
         "gloas-", "glsoat-", "glffct-", "glwt-", "GR1348941"),
        r"[\w.-]{8,}",
        "docs.gitlab.com/security/tokens",
    ),
    Form("Bitbucket", ("ATBB",), r"[A-Za-z0-9]{24}[0-9A-F]{8}(?![A-Za-z0-9+])",
         "support.atlassian.com"),
    Form("Atlassian", ("ATATT3", "ATCTT3", "ATSTT3"), r"[\w-]{20,}[\w=-]*",
         "support.atlassian.com"),
    Form("npm", ("npm_",), r"[A-Za-z0-9]{30,}", "docs.npmjs.com"),
    Form("PyPI", ("pypi-",), rf"AgE{_W}{{16,}}|{_W}{{85,}}", "pypi.org/help/#apitoken"),
    Form("RubyGems", ("rubygems_",), rf"{_H}{{32,}}", _GITLEAKS),
    Form("crates.io", ("cio",), r"(?=[a-z0-9]{0,31}[A-Z])[A-Za-z0-9]{32}(?![A-Za-z0-9])",
         "crates.io"),
    Form("NuGet", ("oy2",), r"[a-z0-9]{43}(?![A-Za-z0-9])", "learn.microsoft.com/nuget"),
    Form("Clojars", ("CLOJARS_",), r"[A-Za-z0-9]{40,}", _GITLEAKS),
    Form("Docker", ("dckr_pat_", "dckr_oat_"), rf"{_W}{{16,}}", "docs.docker.com/security"),
    Form("JFrog", ("AKCp", "cmVmd"), r"[A-Za-z0-9]{59,69}(?![A-Za-z0-9+])", _GITLEAKS),
    Form("CircleCI", ("CCIPAT_", "CCIPRJ_"), rf"{_W}{{20,}}", "circleci.com/docs"),
    Form("Buildkite", ("bkua_", "bkaj_", "bkct_"), rf"{_H}{{32,}}", "buildkite.com/docs"),
    Form("Octopus Deploy", ("API-",), r"[A-Z0-9]{26}(?![A-Z0-9])", _GITLEAKS),
    Form("Harness", ("pat.", "sat."), rf"{_W}{{20,}}\.[A-Za-z0-9]{{20,}}\.[A-Za-z0-9]{{16,}}",
         _GITLEAKS),
    Form("Postman", ("PMAK-",), rf"{_H}{{24}}-{_H}{{34}}", "learning.postman.com"),
    Form("SonarQube", ("sqp_", "squ_", "sqa_"), rf"{_H}{{40}}", "docs.sonarsource.com"),
    Form("Sourcegraph", ("sgp_",), r"[0-9A-Za-z_]{32,}", _GITLEAKS),
    Form("Prefect", ("pnu_", "pnb_"), r"[A-Za-z0-9]{32,}", "docs.prefect.io"),
    Form("dbt", ("dbtc_", "dbtu_"), rf"{_W}{{30,}}", "docs.getdbt.com"),
    Form("ReadMe", ("rdme_",), r"[a-z0-9]{60,}", _GITLEAKS),
    Form("Infracost", ("ico-",), r"[A-Za-z0-9]{32}", _GITLEAKS),
    # --- looking after it -------------------------------------------------------------------------
    Form("New Relic", ("NRAK-", "NRJS-", "NRII-", "NRAA-", "NRIQ-", "NRRA-"), rf"{_W}{{16,}}",
         "docs.newrelic.com"),
    Form("Dynatrace", ("dt0c01.", "dt0s01.", "dt0s02.", "dt0s16."), r"[A-Z0-9]{20,}\.[A-Z0-9]{32,}",
         "docs.dynatrace.com"),
    Form("Honeycomb", ("hcaik_", "hcbik_", "hcxik_", "hcamk_"), r"[a-z0-9]{32,}",
         "docs.honeycomb.io"),
    Form("PostHog", ("phx_", "phc_", "phs_"), r"[A-Za-z0-9]{32,}", "posthog.com/docs"),
    Form("LaunchDarkly", ("sdk-", "api-", "mob-", "rel-"), _UUID, "docs.launchdarkly.com"),
    Form("Statsig", ("secret-",), r"[A-Za-z0-9]{36,}", "docs.statsig.com"),
    # --- talking and writing ----------------------------------------------------------------------
    Form("Slack", ("xoxb-", "xoxp-", "xoxa-", "xoxo-", "xoxs-", "xoxr-", "xoxd-", "xoxc-", "xoxe-",
                   "xoxe.xoxb-", "xoxe.xoxp-", "xapp-", "xwfp-"), r"[A-Za-z0-9%-]{8,}",
         "api.slack.com/authentication/token-types"),
    Form("Discord", ("M", "N", "O"), rf"{_W}{{22,28}}\.{_W}{{6,7}}\.{_W}{{27,40}}",
         "discord.com/developers/docs/reference"),
    Form("Twilio", ("SK",), rf"{_H}{{32}}(?![A-Za-z0-9])", "twilio.com/docs/iam/api-keys"),
    Form("SendGrid", ("SG.",), rf"{_W}{{16,}}(?:\.{_W}{{8,}})?", "docs.sendgrid.com"),
    Form("Mailgun", ("key-",), rf"{_H}{{32}}(?![A-Za-z0-9])", _GITLEAKS),
    Form("Brevo", ("xkeysib-", "xsmtpsib-"), rf"{_W}{{32,}}", "developers.brevo.com"),
    Form("Resend", ("re_",), r"(?=[a-z0-9_]{0,20}[A-Z])[A-Za-z0-9]{6,10}_[A-Za-z0-9]{20,}",
         "resend.com/docs"),
    Form("Notion", ("ntn_", "secret_"), r"[A-Za-z0-9]{40,}", "developers.notion.com"),
    Form("Linear", ("lin_api_", "lin_oauth_", "lin_wh_"), r"[A-Za-z0-9]{30,}",
         "developers.linear.app"),
    Form("Airtable", ("pat",), rf"[A-Za-z0-9]{{14}}\.{_H}{{32,}}", "airtable.com/developers"),
    Form("HubSpot", ("pat-na1-", "pat-eu1-", "pat-na2-", "pat-na3-", "pat-ap1-"), _UUID,
         "developers.hubspot.com"),
    Form("Figma", ("figd_", "figu_", "figo_"), rf"{_W}{{30,}}", "developers.figma.com"),
    Form("Typeform", ("tfp_",), rf"{_W}{{30,}}", _GITLEAKS),
    Form("Contentful", ("CFPAT-",), rf"{_W}{{30,}}", "contentful.com/developers"),
    Form("Dropbox", ("sl.",), rf"(?=.{{0,30}}[A-Z]){_W}{{60,}}", "dropbox.com/developers"),
    Form("Mapbox", ("sk.eyJ", "pk.eyJ", "tk.eyJ"), r"[\w.-]{20,}", "docs.mapbox.com"),
    Form("Meta", ("EAA", "IGQV"), r"[A-Za-z0-9]{80,}", "developers.facebook.com"),
    # --- money ------------------------------------------------------------------------------------
    Form("Stripe, Paystack", ("sk_live_", "sk_test_", "rk_live_", "rk_test_", "pk_live_",
                              "pk_test_", "sk_prod_", "rk_prod_"), r"[A-Za-z0-9]{8,}",
         "docs.stripe.com/keys"),
    Form("Square", ("sq0atp-", "sq0csp-", "sq0idp-"), rf"{_W}{{20,}}", "developer.squareup.com"),
    Form("Square access token", ("EAAA",), rf"{_DIGIT}{_W}{{56,64}}(?![\w+-])",
         "developer.squareup.com"),
    Form("Shopify", ("shpat_", "shpca_", "shppa_", "shpss_", "shptka_"), r"[A-Fa-f0-9]{32}",
         "shopify.dev/docs"),
    Form("Plaid", ("access-sandbox-", "access-development-", "access-production-"), _UUID,
         "plaid.com/docs"),
    Form("PayPal", ("access_token$production$", "access_token$sandbox$"), r"[a-z0-9]{16}\$\w{20,}",
         "developer.paypal.com"),
    Form("Razorpay", ("rzp_live_", "rzp_test_"), r"[A-Za-z0-9]{10,}", "razorpay.com/docs"),
    Form("Flutterwave", ("FLWSECK-", "FLWSECK_TEST-", "FLWSECK_PROD-"), r"[A-Za-z0-9]{12,}[\w-]*",
         _GITLEAKS),
    Form("EasyPost, Duffel, Shippo, Lob, Settlemint",
         ("EZAK", "EZTK", "duffel_test_", "duffel_live_", "shippo_live_", "shippo_test_",
          "live_pub_", "test_pub_", "sm_aat_", "sm_pat_", "sm_sat_"),
         rf"{_DIGIT}[A-Za-z0-9][\w=-]{{15,}}", _GITLEAKS),
    Form("BIP 32", ("xprv", "zprv", "yprv"), r"[1-9A-HJ-NP-Za-km-z]{100,}",
         "github.com/bitcoin/bips/blob/master/bip-0032.mediawiki"),
    # --- formats of their own ---------------------------------------------------------------------
    Form("Frame.io", ("fio-u-",), rf"{_W}{{40,}}", _GITLEAKS),
    Form("Adobe", ("p8e-",), r"[A-Za-z0-9]{32}", _GITLEAKS),
    Form("PASETO", ("v1.local.", "v2.local.", "v3.local.", "v4.local.", "v1.public.",
                    "v2.public.", "v3.public.", "v4.public."), r"[\w.-]{20,}", "paseto.io"),
    Form("Macaroon", ("MDAx",), r"[A-Za-z0-9_-]{60,}={0,2}(?![\w+])", "github.com/rescrv"),
    Form("JWT in base64", ("ZXlKaGJHY2lPa", "ZXlKMGVYQWlPa", "ZXlKcmFXUWlPa"), rf"{_B}{{20,}}",
         "RFC 7519, encoded once more"),
)  # fmt: skip

# What a token of JSON parts begins with: `{"`, in base64 (RFC 7515). Without a second part only
# where it begins as a token's header does: other JSON is no secret. The first part of others has a
# bound, since another may begin at each sign in it.
_JWT = (
    rf"eyJ(?:(?:hbGciOi|0eXAiOi|raWQiOi|lbmMiOi|jdHkiOi){_W}{{10,}}+(?:\.{_W}*+){{0,4}}"
    rf"|{_W}{{4,256}}\.{_W}{{4,}}(?:\.{_W}*){{0,3}})"
)
# The rest of one that was wrapped, or has a line for each part.
_WRAPPED = re.compile(
    r"(?:\.?(?:\r?\n|\\{1,32}n)[ \t|>]{0,32}(?=[\w.-]{0,99}?[a-z])(?=[\w.-]{0,99}?[A-Z])"
    r"(?=[\w.-]{0,99}?[0-9])(?:[\w-]{1,11}\.)?[\w-]{12,}+(?:\.[\w-]{12,}+){0,2}(?=\.?(?:[\s\"'\\:,;)\]}]|$)))+"
)

_HOOK = r"[^\s\"'<>()\[\]{}\\?#]+"

AROUND: tuple[Around, ...] = (
    # Plain base64 soon has a sign that ends a word.
    Around("AWS Bedrock", ("ABSK",), rf"(?<![A-Za-z0-9+]{{8}})ABSK{_B}{{60,}}={{0,2}}",
           "docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html"),
    Around("Fly", ("fo1_", "fm1r_", "fm1a_", "fm2_"), r"f[mo][12][ra]?_[\w+/=-]{32,}",
           "fly.io/docs"),
    Around("Grafana", ("glsa_", "glc_", "eyJrIjoi"), r"(?:gl(?:sa|c)_|eyJrIjoi)[\w+/=-]{30,}",
           "grafana.com/docs"),
    Around("Sentry", ("sntrys_", "sntryu_", "sntrya_"), r"sntry[sua]_[\w+/=-]{20,}",
           "docs.sentry.io"),
    Around("Stripe webhooks", ("whsec_",), rf"whsec_{_B}{{16,}}={{0,2}}",
           "docs.stripe.com/webhooks"),
    Around("Google refresh token", ("1//0",), rf"(?<![A-Za-z0-9+]{{8}})1//0{_W}{{40,}}",
           "developers.google.com/identity/protocols/oauth2"),
    Around("Google authorization code", ("4/0A", "4%2F0A"), rf"4(?:/|%2F)0A{_W}{{40,}}",
           "developers.google.com/identity/protocols/oauth2"),
    Around("Microsoft Entra client", ("Q~",), r"Q~[\w~.-]{31,36}", "learn.microsoft.com/entra",
           r"[\w~.-]{3}\d", 4),
    Around("Azure keys with a signature", ("JQQJ9",), r"JQQJ9[A-Za-z0-9]{27,29}={0,2}",
           "github.com/microsoft/security-utilities", r"[A-Za-z0-9]{52}", 52),
    Around("Azure keys of 64 bytes until 2024", ("+ASt", "ACDb", "+ABa", "+AMC", "APIM"),
           rf".{{4}}{_B}{{6}}(?:==|%3D%3D)", "github.com/microsoft/security-utilities",
           rf"{_B}{{76}}", 76),
    Around("Azure keys of 32 bytes until 2024", ("AIoT", "+ASb", "+AEh", "+ARm", "AzCa"),
           rf".{{4}}{_B}{{6}}(?:=|%3D)", "github.com/microsoft/security-utilities",
           rf"{_B}{{33}}", 33),
    Around("Azure Functions, Search, registries until 2024", ("AzFu", "AzSe", "+ACR"),
           rf".{{4}}{_B}{{6}}(?:={{1,2}}|%3D|(?![A-Za-z0-9+]))",
           "github.com/microsoft/security-utilities",
           rf"{_B}{{42,44}}", 44),
    Around("HCP Terraform", (".atlasv1.",), r"\.atlasv1\.[\w=-]{40,}",
           "developer.hashicorp.com/terraform", r"\w{14}", 14),
    Around("Mailchimp", ("-us",), r"-us\d{1,2}(?!\w)", "mailchimp.com/developer",
           rf"{_H}{{32}}", 32),
    Around("MaxMind", ("_mmk",), r"_mmk(?!\w)", _GITLEAKS, r"[A-Za-z0-9]{6}_[A-Za-z0-9]{29}", 36),
    Around("Telegram", (":AA", "%3AAA"), rf"(?::|%3A)AA{_W}{{32,36}}", "core.telegram.org/bots/api",
           r"\d{8,10}", 10),
    Around("Meta app token", ("|", "%7C"), rf"(?:\||%7C){_W}{{27,40}}(?!\w)",
           "developers.facebook.com", r"(?<!\d)\d{15,16}", 16),
    Around("AWS signature, version 4", ("/aws4_request", "%2Faws4_request"),
           r"(?:/|%2F)aws4_request",
           "docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html",
           r"([A-Z0-9]{16,128})(?:/|%2F)\d{8}(?:/|%2F)[\w-]{1,40}(?:/|%2F)[\w-]{1,40}", 240),
    Around("X bearer token", ("AAAAAAAAAAAAAAAAAAAA",),
           r"A{20}[A-Za-z0-9]{2,40}%(?:2B|2F|3D)[A-Za-z0-9%]{20,}", "docs.x.com"),
    Around("hashes of passwords", ("$2a$", "$2b$", "$2x$", "$2y$"),
           r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{50,}",
           "en.wikipedia.org/wiki/Bcrypt", kind="secret"),
    Around("hashes of passwords", ("$argon2", "$scrypt", "$pbkdf2"),
           r"\$(?:argon2(?:id|i|d)|scrypt|pbkdf2[\w-]*)\$[^\s\"',;\\]{20,}",
           "github.com/P-H-C/phc-string-format", kind="secret"),
    Around("hashes of passwords", ("$6$", "$5$", "$1$", "$y$", "$apr1$"),
           r"\$(?:[651y]|apr1)\$(?:[\w./=]{1,40}\$){1,2}[./A-Za-z0-9]{20,}",
           "en.wikipedia.org/wiki/Crypt_(C)", kind="secret"),
    Around("hashes of passwords", ("pbkdf2_sha", "pbkdf2:sha", "scrypt:"),
           r"(?:pbkdf2_sha\d+\$\d+\$|pbkdf2:sha\d+:\d+\$|scrypt:\d+:\d+:\d+\$)"
           r"[\w./+-]+\$[\w./+=-]{20,}", "docs.djangoproject.com, werkzeug.palletsprojects.com",
           kind="secret"),
    # --- addresses that are secrets: who knows one may use it ------------------------------------
    Around("Slack", ("hooks.slack.com/", "hooks.slack-gov.com/"),
           rf"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/({_HOOK})",
           "api.slack.com/messaging/webhooks", kind="webhook"),
    Around("Discord", ("/webhooks/",), rf"/webhooks/(\d{{15,22}}/{_HOOK})",
           "discord.com/developers/docs/resources/webhook", kind="webhook"),
    Around("Telegram", ("api.telegram.org/",),
           r"api\.telegram\.org/(?:file/)?bot([^\s\"'<>/\\\[]+)",
           "core.telegram.org/bots/api", kind="webhook"),
    Around("Microsoft Teams", ("webhook.office.com/", "outlook.office.com/webhook/"),
           rf"(?:webhook\.office\.com/webhookb2|outlook\.office\.com/webhook)/({_HOOK})",
           "learn.microsoft.com/microsoftteams", kind="webhook"),
    Around("Google Chat", ("chat.googleapis.com/",),
           r"chat\.googleapis\.com/v1/spaces/[\w-]+/messages\?([^\s\"'<>\\\[]+)",
           "developers.google.com/workspace/chat", kind="webhook"),
    Around("Zapier", ("hooks.zapier.com/",), rf"hooks\.zapier\.com/hooks/\w+/({_HOOK})",
           "zapier.com/help", kind="webhook"),
    Around("Make", ("make.com/",), r"make\.com/([A-Za-z0-9]{20,})", "help.make.com",
           kind="webhook"),
    Around("IFTTT", ("maker.ifttt.com/",),
           rf"maker\.ifttt\.com/(?:trigger/[\w-]+/(?:json/)?with/key|use)/({_HOOK})",
           "ifttt.com/maker_webhooks", kind="webhook"),
    Around("n8n, Google Apps Script", ("n8n.cloud/webhook", "script.google.com/macros/s/"),
           rf"(?:n8n\.cloud/webhook(?:-test)?|script\.google\.com/macros/s)/({_HOOK})",
           "docs.n8n.io, developers.google.com/apps-script", kind="webhook"),
    Around("Feishu, Lark", ("/open-apis/bot/",), rf"/open-apis/bot/(?:v2/)?hook/({_HOOK})",
           "open.feishu.cn", kind="webhook"),
    Around("Mattermost, Rocket.Chat", ("/hooks/",), r"/hooks/([a-z0-9]{26}|\w{17}/\w{20,})(?!\w)",
           "developers.mattermost.com", kind="webhook"),
    Around("PagerDuty", ("/integration/",), rf"/integration/({_UUID}|{_H}{{32}})(?!\w)",
           "developer.pagerduty.com", kind="webhook"),
)  # fmt: skip


def _dispatched(forms: tuple[Form, ...]) -> str:
    """Put all forms into one expression that looks at the first letter once."""
    by_letter: dict[str, list[str]] = {"e": [_JWT[1:]]}
    for form in forms:
        for begin in sorted(form.begins, key=len, reverse=True):
            rest = f"(?:{form.rest})" if "|" in form.rest else form.rest
            by_letter.setdefault(begin[0], []).append(re.escape(begin[1:]) + rest)
    return "|".join(f"{letter}(?:{'|'.join(ways)})" for letter, ways in by_letter.items())


# What follows a key without a break belongs to it.
_KEY = rf"(?:{_dispatched(FORMS)}){_W}*+={{0,2}}"
_AT = re.compile(_KEY)
_WITHIN = re.compile(rf"[_.~-](?={_KEY})")
# A word that may be a key: it has ten letters or more, and a digit or a capital, or is very long.
_WORD = re.compile(
    r"(?<![A-Za-z0-9_.~$-])"
    r"(?:(?=[a-z_.~$-]{0,23}+[A-Z0-9])[A-Za-z0-9_.~$-]{10,}|[a-z_.~$-]{24}[A-Za-z0-9_.~$-]*)"
)
# What an escape leaves before a word: \n, \u003d, \x3d, %3D, \x1b[31m.
_ESCAPED = {
    "\\": re.compile(r"u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[abfnrtv]"),
    "%": re.compile(r"(?:25)?[0-9A-Fa-f]{2}"),
    "[": re.compile(r"[0-9]{1,3}m"),
    ";": re.compile(r"[0-9]{1,3}m"),
}
# No key around something is shorter.
_LONG = re.compile(r"\S{20}")
_AROUND = tuple(
    (has, re.compile(each.pattern), re.compile(rf"(?:{each.before})\Z"), each.back, each.kind)
    for each in AROUND
    for has in each.has
)


def keys_in(text: str) -> Iterator[Span]:
    """Find the keys in a text that are known by their look, in no certain order."""
    for word in _WORD.finditer(text):
        yield from _in_word(text, *word.span())
    if _LONG.search(text) is None:
        return
    for has, pattern, before, back, kind in _AROUND:
        at = text.find(has)
        while at >= 0:
            after = at + len(has)
            if found := pattern.match(text, at):
                start, end = found.span(found.re.groups)
                if begun := before.search(text, max(0, at - back), at):
                    if begun.re.groups:
                        start, end = begun.span(1)
                    elif not found.re.groups:
                        start = begun.start()
                    yield start, end, kind
                    after = max(after, end)
            at = text.find(has, after)


def _in_word(text: str, start: int, end: int) -> Iterator[Span]:
    while start < end:
        found = _AT.match(text, start)
        if found is None and start and (escape := _ESCAPED.get(text[start - 1])) is not None:
            after = escape.match(text, start)
            found = None if after is None else _AT.match(text, after.end())
        if found is None:
            # It may begin inside the word, as in my_ghp_...; `end` bounds where, not how long.
            sign = _WITHIN.search(text, start, end)
            found = None if sign is None else _AT.match(text, sign.end())
        if found is None:
            return
        if not found[0].startswith("eyJ"):
            yield (*found.span(), "api-key")
        elif (more := _WRAPPED.match(text, found.end())) is None:
            yield (*found.span(), "jwt")
        else:
            yield found.start(), more.end(), "jwt"
        start = max(found.end(), start + 1)
