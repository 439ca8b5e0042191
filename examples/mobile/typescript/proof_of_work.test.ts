// Does the proof of work fit ALTCHA's own library, in both directions, and a live service that asks for it?
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test } from "node:test";
import { createChallenge, solveChallenge, verifySolution } from "altcha-lib";
import { deriveKey } from "altcha-lib/algorithms/pbkdf2";
import { askForCode, keyOf, solve, type Challenge } from "./proof_of_work.js";

const service = process.env["CHALLENGING_URL"]!;
const device = { id: crypto.randomUUID(), name: "a phone", platform: "ios" };

test("keys are those of ALTCHA", async () => {
    const parameters = (cost: number) => ({
        algorithm: "PBKDF2/SHA-256",
        cost,
        data: {},
        expiresAt: 0,
        keyLength: 32,
        keyPrefix: "00",
        nonce: "39baf91a19d671f8231217f9e28342a6",
        salt: "5e00d5d152e1a5db7d44fb6404a40a5e",
    });
    assert.equal(await keyOf(parameters(1), 123), "722ede188d41e7a7c9fd5447dca6cbb84e09c15724dbaadfb5bfb37d2cd4effa");
    assert.equal(await keyOf(parameters(2), 123), "cba117f9a790022a55589d5008c9f003e49c011ff7fe34fc838788a1825524f7");
});

test("ALTCHA's library takes what this solves", async () => {
    const hmacSignatureSecret = "a secret";
    const challenge = await createChallenge({
        algorithm: "PBKDF2/SHA-256",
        cost: 1000,
        data: { m: "a hash" },
        deriveKey,
        expiresAt: new Date(Date.now() + 60_000),
        hmacSignatureSecret,
    });
    const payload = JSON.parse(atob(await solve(challenge as Challenge)));
    const verdict = await verifySolution({ ...payload, deriveKey, hmacSignatureSecret });
    assert.equal(verdict.verified, true);
});

test("the service takes what ALTCHA's library solves, once", async () => {
    const mobile = someMobile();
    const challenge = (await (await fetch(`${service}/app/v1_0/challenges/pow?mobile=${mobile}`)).json()) as Challenge;
    const solution = await solveChallenge({ challenge, deriveKey });
    const response = btoa(JSON.stringify({ challenge, solution }));
    const ask = () =>
        fetch(`${service}/app/v1_0/sms/codes/${mobile}`, { headers: { "x-challenge-response": `pow:${response}` } });
    assert.equal((await ask()).status, 200);
    const again = await ask();
    assert.deepEqual([again.status, (await again.json()).code], [400, "image_code_invalid"]);
});

test("a code is sent after a proof of work", async () => {
    const mobile = someMobile();
    const refused = await fetch(`${service}/app/v1_0/sms/codes/${mobile}`);
    assert.deepEqual([refused.status, (await refused.json()).code], [403, "image_code_required"]);
    assert.equal((await askForCode(service, mobile, device)).status, 200);
    const sent = await (await fetch(`${service}/dev/sms`, { headers: { accept: "application/json" } })).json();
    assert.equal(sent.filter((message: { mobile: string }) => message.mobile === mobile).length, 1);
});

test("each request brings the device", async () => {
    const devices: unknown[] = [];
    const send = (url: string, options?: RequestInit) => {
        if (options?.body) devices.push(JSON.parse(String(options.body)).device);
        return fetch(url, options);
    };
    assert.equal((await askForCode(service, someMobile(), device, "login", send)).status, 200);
    assert.deepEqual(devices, [device, device]);
});

test("what the app has to show comes back: a refusal for another reason, another kind of challenge", async () => {
    assert.equal((await askForCode(service, "1", device)).status, 400);
    const refusal = { code: "image_code_required", challenges: [{ kind: "picture" }] };
    const send = async () => Response.json(refusal, { status: 403 });
    const answer = await askForCode(service, someMobile(), device, "login", send);
    assert.deepEqual(await answer.json(), refusal);
});

function someMobile(): string {
    return `139${randomInt(10 ** 8).toString().padStart(8, "0")}`;
}
