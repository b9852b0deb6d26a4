"""An app that believes no header, but the token: with PyJWT (Debian: python3-jwt, python3-cryptography)."""

import http.server
import os

import jwt

issuer = os.environ["ISSUER"]  # base_url of jitgate
audience = os.environ["APP"]  # the app's name in jitgate.yaml
keys = jwt.PyJWKClient(os.environ.get("JWKS", issuer + "/.jitgate/jwks.json"), lifespan=300)


def user(headers):
    """Returns the claims of who sent a request, None for anybody else."""
    try:
        token = headers.get("X-Jitgate-Assertion", "")
        key = keys.get_signing_key_from_jwt(token).key
        return jwt.decode(token, key, algorithms=["ES256"], issuer=issuer, audience=audience, options={"require": ["exp", "iss", "aud", "sub"]})
    except jwt.PyJWTError:
        return None


class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        claims = user(self.headers)
        self.send_response(200 if claims else 401)
        self.end_headers()
        self.wfile.write(claims["preferred_username"].encode() if claims else b"no token")


http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
