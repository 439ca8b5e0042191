// Does the token holder keep a user signed in, against a live service, when tokens expire and networks fail?
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test } from "node:test";
import { openTokenHolder, SignedOut, type RequestOptions, type Tokens, type TokenSet } from "./token_holder.js";

const service = process.env["PHONEPASS_URL"]!;
const expired = process.env["TOKEN_EXPIRED"]!;
const authorizations = `${service}/app/v1_0/authorizations`;
const user = `${service}/app/v1_0/user`;
const device = { id: crypto.randomUUID(), name: "a phone", platform: "ios" };

test("a request carries the access token", async () => {
    const app = await signedInApp();
    assert.equal((await app.holder.fetch(user)).status, 200);
    assert.deepEqual(app.calls, ["GET"]);
});

test("fifty requests with an expired token cause one refresh, and none fails", async () => {
    const app = await signedInApp({ token: expired });
    const answers = await Promise.all(fifty(() => app.holder.fetch(user)));
    assert.deepEqual(answers.map((answer) => answer.status), fifty(() => 200));
    assert.equal(app.count("PUT"), 1);
});

test("a request whose 401 comes after the refresh causes no second one", async () => {
    const app = await signedInApp({ token: expired });
    let letGo = () => {};
    const held = new Promise<void>((resolve) => (letGo = resolve));
    app.network = async (send, url, options) => {
        const answer = await send();
        if (url === `${user}?late` && bearer(options) === expired) await held;
        return answer;
    };
    const late = app.holder.fetch(`${user}?late`);
    assert.equal((await app.holder.fetch(user)).status, 200);
    letGo();
    assert.equal((await late).status, 200);
    assert.equal(app.count("PUT"), 1);
});

test("a token is refreshed before it expires, and stays in use if that fails", async () => {
    const app = await signedInApp({ refresh_at: Date.now() });
    app.network = (send, _url, options) => (options.method === "PUT" ? lost() : send());
    assert.equal((await app.holder.fetch(user)).status, 200);
    app.network = (send) => send();
    assert.equal((await app.holder.fetch(user)).status, 200);
    assert.equal((await app.holder.fetch(user)).status, 200);
    assert.deepEqual(app.calls, ["PUT", "GET", "PUT", "GET", "GET"]);
});

test("a refresh brings the device", async () => {
    const app = await signedInApp({ token: expired });
    const bodies: (string | undefined)[] = [];
    app.network = (send, _url, options) => {
        if (options.method === "PUT") bodies.push(options.body);
        return send();
    };
    const sessions = (await (await app.holder.fetch(`${user}/sessions`)).json()).data;
    assert.deepEqual(bodies, [JSON.stringify({ device })]);
    assert.ok(JSON.stringify(sessions).includes('"a phone"') && !JSON.stringify(sessions).includes(device.id));
});

test("a request is sent again once only", async () => {
    const app = await signedInApp({ token: expired });
    app.network = (send, _url, options) =>
        options.method === "PUT" ? send() : fetch(user, { headers: { authorization: `Bearer ${expired}` } });
    assert.equal((await app.holder.fetch(user)).status, 401);
    assert.deepEqual(app.calls, ["GET", "PUT", "GET"]);
});

test("a request that is sent again has its body, method and headers", async () => {
    const app = await signedInApp({ token: expired });
    const headers = { "content-type": "application/json" };
    const answer = await app.holder.fetch(user, { method: "PATCH", headers, body: '{"name":"Li Lei"}' });
    assert.equal((await answer.json()).data.name, "Li Lei");
    assert.deepEqual(app.calls, ["PATCH", "PUT", "PATCH"]);
});

test("the new refresh token is saved before the new access token is used", async () => {
    const app = await signedInApp({ token: expired });
    const before = app.stored();
    app.network = (send, _url, options) => {
        if (bearer(options) !== expired && options.method !== "PUT") {
            assert.notEqual(app.stored()?.refresh_token, before?.refresh_token);
            assert.equal(app.stored()?.token, bearer(options));
        }
        return send();
    };
    assert.equal((await app.holder.fetch(user)).status, 200);
    assert.deepEqual(app.calls, ["GET", "PUT", "GET"]);
});

test("after a lost answer to a refresh the next request succeeds", async () => {
    const app = await signedInApp({ token: expired });
    app.network = async (send, _url, options) => {
        const answer = await send();
        return options.method === "PUT" ? lost() : answer;
    };
    await assert.rejects(app.holder.fetch(user), TypeError);
    app.network = (send) => send();
    assert.equal((await app.holder.fetch(user)).status, 200);
    assert.equal(app.signOuts, 0);
});

for (const status of [429, 500, 502, 503]) {
    test(`a refresh that is answered with ${status} keeps the tokens`, async () => {
        const app = await signedInApp({ token: expired });
        const outage = JSON.stringify({ message: "", code: "unavailable", request_id: "" });
        app.network = async (send, _url, options) =>
            options.method === "PUT" ? new Response(outage, { status }) : send();
        await assert.rejects(app.holder.fetch(user), /no new tokens for now/);
        app.network = (send) => send();
        assert.equal((await app.holder.fetch(user)).status, 200);
        assert.equal(app.signOuts, 0);
    });
}

test("a refused refresh signs out once, for fifty requests", async () => {
    const app = await signedInApp();
    await fetch(authorizations, { method: "DELETE", headers: { authorization: `Bearer ${app.stored()?.token}` } });
    const results = await Promise.allSettled(fifty(() => app.holder.fetch(user)));
    assert.ok(results.every((result) => result.status === "rejected" && result.reason instanceof SignedOut));
    assert.equal(app.signOuts, 1);
    assert.equal(app.count("PUT"), 1);
    assert.equal(app.stored(), undefined);
    assert.equal(app.holder.isSignedIn(), false);
});

test("a disabled account is signed out", async () => {
    const app = await signedInApp({ token: expired });
    const refusal = JSON.stringify({ message: "", code: "account_disabled", request_id: "" });
    app.network = async (send, _url, options) =>
        options.method === "PUT" ? new Response(refusal, { status: 403 }) : send();
    await assert.rejects(app.holder.fetch(user), SignedOut);
    assert.equal(app.signOuts, 1);
    assert.equal(app.stored(), undefined);
});

for (const token of ["valid", "expired"]) {
    test(`signing out with an access token that is ${token} ends the session at the service`, async () => {
        const app = await signedInApp(token === "expired" ? { token: expired } : {});
        const refreshToken = app.stored()?.refresh_token;
        await app.holder.signOut();
        assert.equal(app.stored(), undefined);
        await assert.rejects(app.holder.fetch(user), SignedOut);
        const headers = { authorization: `Bearer ${refreshToken}` };
        const again = await fetch(authorizations, { method: "PUT", headers });
        assert.equal((await again.json()).code, "session_revoked");
    });
}

test("signing out without a network forgets the tokens", async () => {
    const app = await signedInApp();
    app.network = lost;
    await app.holder.signOut();
    assert.equal(app.stored(), undefined);
    assert.equal(app.holder.isSignedIn(), false);
});

test("signing out during a refresh leaves nobody signed in", async () => {
    const app = await signedInApp({ token: expired });
    app.network = async (send, _url, options) => {
        const answer = await send();
        if (options.method === "PUT" && app.holder.isSignedIn()) await app.holder.signOut();
        return answer;
    };
    await assert.rejects(app.holder.fetch(user), SignedOut);
    assert.equal(app.stored(), undefined);
    assert.equal(app.holder.isSignedIn(), false);
});

test("signing out while new tokens are saved leaves nobody signed in", async () => {
    const app = await signedInApp({ token: expired });
    app.onSave = (tokens) => {
        if (tokens) void app.holder.signOut();
    };
    await assert.rejects(app.holder.fetch(user), SignedOut);
    assert.equal(app.stored(), undefined);
    assert.equal(app.holder.isSignedIn(), false);
});

type Network = (send: () => Promise<Response>, url: string, options: RequestOptions) => Promise<Response>;

/** An app of a new user; `changes` age its tokens. Its requests pass through `network`, which the test may replace. */
async function signedInApp(changes: Partial<Tokens> = {}) {
    let saved: Tokens | undefined;
    const storage = {
        load: async () => saved,
        save: async (tokens: Tokens | undefined) => {
            app.onSave(tokens);
            await new Promise((resolve) => setTimeout(resolve, 5));
            saved = tokens;
        },
    };
    const app = {
        calls: [] as string[],
        count: (method: string) => app.calls.filter((call) => call === method).length,
        network: ((send) => send()) as Network,
        onSave: (_tokens: Tokens | undefined) => {},
        signOuts: 0,
        stored: () => saved,
    };
    const send = (url: string, options: RequestOptions) => {
        app.calls.push(options.method ?? "GET");
        return app.network(() => fetch(url, options), url, options);
    };
    const open = () => openTokenHolder(service, storage, device, () => app.signOuts++, send);
    await (await open()).signIn(await newTokenSet());
    saved = { ...saved!, ...changes };
    return Object.assign(app, { holder: await open() });
}

async function newTokenSet(): Promise<TokenSet> {
    const mobile = `1${randomInt(3, 10)}${String(randomInt(1_000_000_000)).padStart(9, "0")}`;
    await post("/app/v1_0/sms/codes", { mobile, device });
    const phone = await fetch(`${service}/dev/sms`, { headers: { accept: "application/json" } });
    const messages = (await phone.json()) as { mobile: string; code: string }[];
    const code = messages.find((message) => message.mobile === mobile)?.code;
    return (await (await post("/app/v1_0/authorizations", { mobile, code, device })).json()).data;
}

function post(path: string, body: object): Promise<Response> {
    const headers = { "content-type": "application/json" };
    return fetch(service + path, { method: "POST", headers, body: JSON.stringify(body) });
}

function bearer(options: RequestOptions): string | undefined {
    return new Headers(options.headers).get("authorization")?.replace("Bearer ", "");
}

function lost(): Promise<Response> {
    return Promise.reject(new TypeError("the network is gone"));
}

function fifty<T>(make: () => T): T[] {
    return Array.from({ length: 50 }, make);
}
