// Who is calling? ISSUER=https://id.example.com node verify.mjs TOKEN prints the user's id, or says why not.
import { createRemoteJWKSet, jwtVerify } from "jose";

const issuer = process.env.ISSUER;
const discovery = await fetch(`${issuer}/.well-known/openid-configuration`);
const keys = createRemoteJWKSet(new URL((await discovery.json()).jwks_uri));

export async function verify(token) {
    const { payload } = await jwtVerify(token, keys, {
        algorithms: ["ES256"],
        typ: "at+jwt",
        issuer,
        audience: "phonepass",
        requiredClaims: ["sub", "exp"], // jose lets a token without `exp` live for ever
    });
    return payload.sub;
}

try {
    console.log(await verify(process.argv[2]));
} catch (refusal) {
    console.error(refusal.message);
    process.exitCode = 1;
}
