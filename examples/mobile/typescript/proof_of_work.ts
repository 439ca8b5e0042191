// Asks for SMS codes, and does the proof of work that the service asks for on suspicion (ALTCHA v2, PBKDF2/SHA-256).
import type { Device } from "./device.js";

export interface Challenge {
    parameters: {
        algorithm: string;
        cost: number;
        data: Record<string, string>;
        expiresAt: number;
        keyLength: number;
        keyPrefix: string;
        nonce: string;
        salt: string;
    };
    signature: string;
}

type Send = (url: string, options?: RequestInit) => Promise<Response>;
type Refusal = { code?: string; challenges?: { kind: string; url?: string }[] };

/**
 * Asks for a code, and once more with a proof of work if that is what the service wants. The answer is the service's: a
 * refusal with other kinds of challenges is for the app to show.
 */
export async function askForCode(
    service: string,
    mobile: string,
    device: Device,
    purpose: string = "login",
    send: Send = fetch,
): Promise<Response> {
    const ask = (challenge?: { kind: string; response: string }) =>
        send(`${service}/app/v1_0/sms/codes`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ mobile, purpose, device, challenge }),
        });
    const answer = await ask();
    if (answer.status !== 403) return answer;
    const { code, challenges = [] } = (await answer.clone().json()) as Refusal;
    const offer = challenges.find(({ kind }) => kind === "pow");
    if (code !== "image_code_required" || !offer) return answer;
    const challenge = await send(`${service}${offer.url}?${new URLSearchParams({ mobile })}`);
    if (!challenge.ok) return challenge;
    return ask({ kind: "pow", response: await solve((await challenge.json()) as Challenge) });
}

/** The payload of ALTCHA: what goes back to the service as `response`. */
export async function solve({ parameters, signature }: Challenge): Promise<string> {
    for (let counter = 0; ; counter++) {
        const derivedKey = await keyOf(parameters, counter);
        if (derivedKey.startsWith(parameters.keyPrefix)) {
            return btoa(JSON.stringify({ challenge: { parameters, signature }, solution: { counter, derivedKey } }));
        }
    }
}

/** WebCrypto does the work on a thread of its own: the page goes on drawing. */
export async function keyOf(parameters: Challenge["parameters"], counter: number): Promise<string> {
    const nonce = bytesOf(parameters.nonce);
    const password = new Uint8Array(nonce.length + 4);
    password.set(nonce);
    new DataView(password.buffer).setUint32(nonce.length, counter); // big-endian
    const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
    const { cost: iterations, keyLength } = parameters;
    const algorithm = { name: "PBKDF2", hash: "SHA-256", salt: bytesOf(parameters.salt), iterations };
    return hexOf(new Uint8Array(await crypto.subtle.deriveBits(algorithm, key, keyLength * 8)));
}

function bytesOf(hex: string): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
}

function hexOf(bytes: Uint8Array): string {
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
