// An app that believes no header, but the token: with nothing but the JDK (17), so that
// java App.java runs it. With a library for JSON, or for JWTs, it is shorter.

import com.sun.net.httpserver.HttpServer;
import java.math.BigInteger;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.AlgorithmParameters;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.time.Instant;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class App {
    static final String issuer = System.getenv("ISSUER"); // base_url of jitgate
    static final String audience = System.getenv("APP"); // the app's name in jitgate.yaml
    static final String address = System.getenv().getOrDefault("JWKS", issuer + "/.jitgate/jwks.json");

    static Map<String, PublicKey> keys = Map.of();
    static Instant read = Instant.EPOCH;

    /** Returns the public key of an ID. The keys are read again after five minutes, and where there is a new one, but not more than every ten seconds. */
    static synchronized PublicKey key(String id) throws Exception {
        Instant now = Instant.now();
        if (now.isAfter(read.plusSeconds(300)) || !keys.containsKey(id) && now.isAfter(read.plusSeconds(10))) {
            read = now;
            String set = HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(address)).build(), BodyHandlers.ofString()).body();
            AlgorithmParameters curve = AlgorithmParameters.getInstance("EC");
            curve.init(new ECGenParameterSpec("secp256r1"));
            Map<String, PublicKey> all = new HashMap<>();
            for (String jwk : set.substring(set.indexOf('[')).split("},")) {
                ECPoint point = new ECPoint(new BigInteger(1, decode(text(jwk, "x"))), new BigInteger(1, decode(text(jwk, "y"))));
                all.put(text(jwk, "kid"), KeyFactory.getInstance("EC").generatePublic(new ECPublicKeySpec(point, curve.getParameterSpec(ECParameterSpec.class))));
            }
            keys = all;
        }
        return keys.get(id);
    }

    static byte[] decode(String part) {
        return Base64.getUrlDecoder().decode(part);
    }

    /** Returns the text of a member of an object, null where there is none; no text in there has a quotation mark that is not escaped. */
    static String text(String json, String name) {
        Matcher found = Pattern.compile("[,{]\"" + name + "\":\"((?:[^\"\\\\]|\\\\.)*+)\"").matcher(json);
        return found.find() ? escape.matcher(found.group(1)).replaceAll(e -> Matcher.quoteReplacement(unescaped(e.group(1)))) : null;
    }

    static final Pattern escape = Pattern.compile("\\\\(u[0-9a-fA-F]{4}|.)");

    /** Returns what is meant by what follows a backslash. */
    static String unescaped(String code) {
        if (code.length() == 5) {
            return String.valueOf((char) Integer.parseInt(code.substring(1), 16));
        }
        int control = "bfnrt".indexOf(code);
        return control < 0 ? code : "\b\f\n\r\t".substring(control, control + 1);
    }

    /** Returns the user name of who sent a request, null for anybody else. */
    static String user(String token) {
        try {
            String[] parts = token.split("\\.");
            String header = new String(decode(parts[0]), StandardCharsets.UTF_8);
            PublicKey by = "ES256".equals(text(header, "alg")) ? key(text(header, "kid")) : null;
            if (by == null || parts.length != 3) {
                return null;
            }
            Signature signature = Signature.getInstance("SHA256withECDSAinP1363Format");
            signature.initVerify(by);
            signature.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
            if (!signature.verify(decode(parts[2]))) {
                return null;
            }
            String claims = new String(decode(parts[1]), StandardCharsets.UTF_8);
            Matcher expires = Pattern.compile("[,{]\"exp\":([0-9]+)[,}]").matcher(claims);
            boolean good = issuer.equals(text(claims, "iss")) && audience.equals(text(claims, "aud"))
                && expires.find() && Long.parseLong(expires.group(1)) > Instant.now().getEpochSecond();
            return good ? text(claims, "preferred_username") : null;
        } catch (Exception wrong) {
            return null;
        }
    }

    public static void main(String[] args) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(System.getenv("PORT"))), 0);
        server.createContext("/", exchange -> {
            String token = exchange.getRequestHeaders().getFirst("X-Jitgate-Assertion");
            String name = token == null ? null : user(token);
            byte[] body = (name == null ? "no token" : name).getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(name == null ? 401 : 200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }
}
