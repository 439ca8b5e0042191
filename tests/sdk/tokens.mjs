// Access tokens that are wrong in one way each, signed with the key that the service publishes.
//   node tokens.mjs KEY.pem VALID_TOKEN     prints lines of shell: export TOKEN_EXPIRED=…
import { createPrivateKey, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';

const [, , keyFile, valid] = process.argv;
const [header, payload, signature] = valid.split('.');
const claims = JSON.parse(Buffer.from(payload, 'base64url'));
const key = createPrivateKey(readFileSync(keyFile));

function token(changes) {
  const changed = Buffer.from(JSON.stringify({ ...claims, ...changes })).toString('base64url');
  const bytes = sign('sha256', `${header}.${changed}`, { key, dsaEncoding: 'ieee-p1363' });
  return `${header}.${changed}.${bytes.toString('base64url')}`;
}

const stranger = Buffer.from(JSON.stringify({ ...claims, sub: crypto.randomUUID() })).toString('base64url');
const tokens = {
  TOKEN_VALID: valid,
  // By two seconds: a verifier with the usual minute of leeway would believe it.
  TOKEN_EXPIRED: token({ iat: claims.iat - 3600, exp: claims.iat - 2 }),
  TOKEN_TAMPERED: `${header}.${stranger}.${signature}`,
  TOKEN_WRONG_AUDIENCE: token({ aud: 'another-service' }),
};
for (const [name, value] of Object.entries(tokens)) console.log(`export ${name}=${value}`);
