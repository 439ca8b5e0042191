// Keeps a user of an app signed in. Requests to your own back ends go through `fetch` of one holder: it adds the access
// token and refreshes it in time, once for all requests that need it.
import type { Device } from "./device.js";

export interface TokenSet { token: string; refresh_token: string; expires_in: number }
export interface Tokens { token: string; refresh_token: string; refresh_at: number }

/** Where tokens outlive the app: the keychain, say. `undefined`: there are none. */
export interface TokenStorage {
    load(): Promise<Tokens | undefined>;
    save(tokens: Tokens | undefined): Promise<void>;
}

/** The body is a string, for a request may have to be sent twice. */
export type RequestOptions = Omit<RequestInit, "body"> & { body?: string };
type Answer = { code?: string; data: TokenSet };
type Send = (url: string, options: RequestOptions) => Promise<Response>;

export class SignedOut extends Error {}

/** `onSignedOut` is called when the service has ended the session: time to show the sign-in page. */
export async function openTokenHolder(
    service: string,
    storage: TokenStorage,
    device: Device,
    onSignedOut: () => void,
    send: Send = fetch,
) {
    const authorizations = `${service}/app/v1_0/authorizations`;
    let tokens = await storage.load();
    let refreshing: Promise<void> | undefined;

    async function keep(next: Tokens | undefined): Promise<void> {
        tokens = next;
        await storage.save(next);
    }

    function sendWith(token: string, url: string, options: RequestOptions): Promise<Response> {
        const headers = new Headers(options.headers);
        headers.set("authorization", `Bearer ${token}`);
        return send(url, { ...options, headers });
    }

    /** A refresh keeps the device known, and makes one known that signed in before the app had an id. */
    function trade({ refresh_token }: Tokens): Promise<Response> {
        const headers = { "content-type": "application/json" };
        return sendWith(refresh_token, authorizations, { method: "PUT", headers, body: JSON.stringify({ device }) });
    }

    async function exchange(stale: Tokens): Promise<void> {
        // When the answer is lost, the same refresh token goes again: it is good until the next one has been used.
        const answer = await trade(stale);
        const { code, data } = (await answer.json()) as Answer;
        if (tokens !== stale) return; // signed out meanwhile
        if (answer.ok) {
            // Saved before it is used: an app that is killed in between must not come back with an older one.
            const next = withRefreshTime(data);
            await storage.save(next);
            if (tokens === stale) tokens = next;
            else await storage.save(tokens); // signed out while saving
        } else if (answer.status === 401 || code === "account_disabled") {
            await keep(undefined);
            onSignedOut();
        } else {
            throw new Error(`no new tokens for now: ${answer.status} ${code}`);
        }
    }

    /** One refresh for all who ask while it is under way, and none for those who ask after it. */
    async function refresh(stale: Tokens): Promise<Tokens> {
        if (tokens === stale) await (refreshing ??= exchange(stale).finally(() => (refreshing = undefined)));
        if (!tokens) throw new SignedOut();
        return tokens;
    }

    return {
        isSignedIn: () => tokens !== undefined,

        /** Takes `data` of the answer to a sign-in. */
        signIn: (answer: TokenSet) => keep(withRefreshTime(answer)),

        /** Throws `SignedOut` when nobody is signed in (any more), and whatever `send` throws. */
        async fetch(url: string, options: RequestOptions = {}): Promise<Response> {
            const held = tokens;
            if (!held) throw new SignedOut();
            // A refresh ahead of time may fail: the access token is good for a while yet.
            const used = Date.now() < held.refresh_at ? held : await refresh(held).catch(() => held);
            const answer = await sendWith(used.token, url, options);
            return answer.status === 401 ? sendWith((await refresh(used)).token, url, options) : answer;
        },

        /** Forgets the tokens, whether the network works or not, and ends the session at the service if it does. */
        async signOut(): Promise<void> {
            const held = tokens;
            await keep(undefined);
            if (!held) return;
            try {
                const answer = await sendWith(held.token, authorizations, { method: "DELETE" });
                if (answer.status !== 401) return;
                const refreshed = await trade(held);
                if (!refreshed.ok) return;
                const { data } = (await refreshed.json()) as Answer;
                await sendWith(data.token, authorizations, { method: "DELETE" });
            } catch {
                // The session runs out by itself.
            }
        },
    };
}

function withRefreshTime({ token, refresh_token, expires_in }: TokenSet): Tokens {
    return { token, refresh_token, refresh_at: Date.now() + expires_in * 900 }; // after nine tenths of its life
}
