"""Who is calling? ISSUER=https://id.example.com python verify.py TOKEN prints the user's id, or says why not."""

import os
import sys

import jwt

ISSUER = os.environ["ISSUER"]
KEYS = jwt.PyJWKClient(f"{ISSUER}/.well-known/jwks.json")  # fetched once, and again when a token names a new key
REQUIRED = ["iss", "sub", "aud", "iat", "exp", "jti", "sid", "client_id"]


def verify(token: str) -> str:
    key = KEYS.get_signing_key_from_jwt(token)
    # The issuer's clock may be a second ahead, so the time of issue is no reason to refuse.
    options: jwt.types.Options = {"require": REQUIRED, "verify_iat": False}
    checked = jwt.decode_complete(token, key, ["ES256"], options, issuer=ISSUER, audience="phonepass")
    if checked["header"].get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("not an access token")
    return str(checked["payload"]["sub"])


if __name__ == "__main__":
    try:
        print(verify(sys.argv[1]))
    except jwt.PyJWTError as refusal:
        sys.exit(str(refusal))
