// Checks the token of a request.

// How a public key on P-256 begins in DER, before its two coordinates (RFC 5480).
const der = Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex");

function decode(part) {
  return JSON.parse(Buffer.from(part, "base64url").toString());
}

async function check(r) {
  try {
    const parts = r.headersIn["X-Jitgate-Assertion"].split(".");
    const header = decode(parts[0]);
    const answer = await r.subrequest("/.keys");
    const jwk = JSON.parse(answer.responseText).keys.find((k) => k.kid === header.kid);
    const spki = Buffer.concat([der, Buffer.from(jwk.x, "base64url"), Buffer.from(jwk.y, "base64url")]);
    const key = await crypto.subtle.importKey("spki", spki, { name: "ECDSA", namedCurve: "P-256" }, false, ["verify"]);
    const good = await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, Buffer.from(parts[2], "base64url"), Buffer.from(parts[0] + "." + parts[1]));
    const claims = decode(parts[1]);
    if (good && header.alg === "ES256" && parts.length === 3 && claims.iss === r.variables.issuer && claims.aud === r.variables.audience && claims.exp > Date.now() / 1000) {
      r.headersOut["X-Token-User"] = claims.preferred_username;
      r.headersOut["X-Token-Email"] = claims.email || "";
      r.headersOut["X-Token-Groups"] = (claims.groups || []).map((g) => g.replace(/[%,]/g, (c) => encodeURIComponent(c))).join(",");
      r.return(204);
      return;
    }
  } catch (wrong) {
    r.log("token: " + wrong);
  }
  r.return(401);
}

export default { check };
