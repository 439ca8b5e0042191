// Does the client of openapi-typescript and openapi-fetch compile strictly, and does it sign in, refresh and sign out?
import assert from "node:assert/strict";
import { test } from "node:test";
import createClient from "openapi-fetch";
import { newMobile, readCode } from "./phone.js";
import type { components, paths } from "./phonepass.js";
import { signIn } from "./sign_in.js";

const baseUrl = process.env["PHONEPASS_URL"]!;
const phonepass = createClient<paths>({ baseUrl });
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

test("a new user signs in, refreshes and signs out", async () => {
    const mobile = newMobile();
    const tokens = await signIn(baseUrl, mobile, () => readCode(baseUrl, mobile));
    assert.equal(tokens.is_new_user, true);

    const user = await phonepass.GET("/app/v1_0/user", bearer(tokens.token));
    assert.equal(user.data?.data.id, tokens.user_id);
    assert.equal(user.data.data.mobile, mobile);

    const refreshed = await phonepass.PUT("/app/v1_0/authorizations", bearer(tokens.refresh_token));
    assert.equal(refreshed.data?.data.user_id, tokens.user_id);
    assert.notEqual(refreshed.data.data.refresh_token, tokens.refresh_token);

    const over = await phonepass.DELETE("/app/v1_0/authorizations", bearer(refreshed.data.data.token));
    assert.equal(over.response.status, 204);

    const refused = await phonepass.GET("/app/v1_0/user", bearer(refreshed.data.data.token));
    assert.equal(refused.response.status, 401);
    assert.equal(refused.error?.code, "session_revoked");
});

test("a wrong code is refused with a code for programs and the tries that are left", async () => {
    const mobile = newMobile();
    await phonepass.POST("/app/v1_0/sms/codes", { body: { mobile } });
    const wrong = (await readCode(baseUrl, mobile)) === "000000" ? "000001" : "000000";

    const answer = await phonepass.POST("/app/v1_0/authorizations", { body: { mobile, code: wrong } });
    assert.equal(answer.response.status, 400);
    const refusal: components["schemas"]["ErrorBody"] | undefined = answer.error;
    assert.equal(refusal?.code, "sms_code_invalid");
    assert.equal(refusal.attempts_left, 4);
    assert.equal(refusal.fields, undefined);
});
