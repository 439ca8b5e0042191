import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.nimbusds.jwt.proc.JWTProcessor;
import java.net.MalformedURLException;
import java.net.URI;
import java.util.Set;

/** Prints the id of the user that an access token speaks for: ISSUER=https://id.example.com java Verify TOKEN. */
final class Verify {
    /** Make one and keep it: it holds the keys, and fetches them again when a token names a new one. */
    static JWTProcessor<SecurityContext> verifier(String issuer) throws MalformedURLException {
        var keys = JWKSourceBuilder.create(URI.create(issuer + "/.well-known/jwks.json").toURL()).build();
        var claims = new DefaultJWTClaimsVerifier<SecurityContext>(
                "phonepass",
                new JWTClaimsSet.Builder().issuer(issuer).build(),
                Set.of("sub", "exp", "iat", "jti", "sid", "client_id"));
        claims.setMaxClockSkew(0);
        var verifier = new DefaultJWTProcessor<SecurityContext>();
        verifier.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt")));
        verifier.setJWSKeySelector(new JWSVerificationKeySelector<>(JWSAlgorithm.ES256, keys));
        verifier.setJWTClaimsSetVerifier(claims);
        return verifier;
    }

    public static void main(String[] args) {
        try {
            System.out.println(verifier(System.getenv("ISSUER")).process(args[0], null).getSubject());
        } catch (Exception refused) {
            System.err.println(refused.getMessage());
            System.exit(1);
        }
    }
}
