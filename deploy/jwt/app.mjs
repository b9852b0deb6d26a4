// An app that believes no header, but the token: with nothing but Node.
import { createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";

const issuer = process.env.ISSUER; // base_url of jitgate
const audience = process.env.APP; // the app's name in jitgate.yaml
const address = process.env.JWKS ?? issuer + "/.jitgate/jwks.json";

let keys = new Map(), read = 0;

// key returns the public key of an ID. The keys are read again after five minutes, and
// where there is a new one, but not more than every ten seconds.
async function key(id) {
  const age = Date.now() - read;
  if (age > 300_000 || (!keys.has(id) && age > 10_000)) {
    read = Date.now();
    const set = await (await fetch(address)).json();
    keys = new Map(set.keys.map((jwk) => [jwk.kid, createPublicKey({ key: jwk, format: "jwk" })]));
  }
  return keys.get(id);
}

const decode = (part) => JSON.parse(Buffer.from(part, "base64url"));

// user returns the claims of who sent a request, null for anybody else.
async function user(headers) {
  try {
    const [header, claims, signature] = (headers["x-jitgate-assertion"] ?? "").split(".");
    const { alg, kid } = decode(header);
    const by = alg === "ES256" && (await key(kid));
    if (!by || !verify("sha256", Buffer.from(header + "." + claims), { key: by, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"))) return null;
    const said = decode(claims);
    return said.iss === issuer && said.aud === audience && said.exp > Date.now() / 1000 ? said : null;
  } catch {
    return null;
  }
}

createServer(async (request, response) => {
  const claims = await user(request.headers);
  response.writeHead(claims ? 200 : 401).end(claims ? claims.preferred_username : "no token");
}).listen(Number(process.env.PORT), "127.0.0.1");
