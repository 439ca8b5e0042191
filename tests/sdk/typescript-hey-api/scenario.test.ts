// Does the client of @hey-api/openapi-ts compile strictly, and does it sign in, refresh and sign out?
import assert from "node:assert/strict";
import { test } from "node:test";
import { newMobile, readCode } from "./phone.js";
import { client } from "./phonepass/client.gen.js";
import {
    type ErrorBody,
    getCurrentUser,
    refreshToken,
    sendSmsCode,
    signInWithSmsCode,
    signOut,
} from "./phonepass/index.js";
import { signIn } from "./sign_in.js";

const baseUrl = process.env["PHONEPASS_URL"]!;
client.setConfig({ baseUrl });

test("a new user signs in, refreshes and signs out", async () => {
    const mobile = newMobile();
    const tokens = await signIn(baseUrl, mobile, () => readCode(baseUrl, mobile));
    assert.equal(tokens.is_new_user, true);

    const user = await getCurrentUser({ auth: tokens.token });
    assert.equal(user.data?.data.id, tokens.user_id);
    assert.equal(user.data.data.mobile, mobile);

    const refreshed = await refreshToken({ auth: tokens.refresh_token });
    assert.equal(refreshed.data?.data.user_id, tokens.user_id);
    assert.notEqual(refreshed.data.data.refresh_token, tokens.refresh_token);

    const over = await signOut({ auth: refreshed.data.data.token });
    assert.equal(over.response?.status, 204);

    const refused = await getCurrentUser({ auth: refreshed.data.data.token });
    assert.equal(refused.response?.status, 401);
    assert.equal(refused.error?.code, "session_revoked");
});

test("a wrong code is refused with a code for programs and the tries that are left", async () => {
    const mobile = newMobile();
    await sendSmsCode({ body: { mobile } });
    const wrong = (await readCode(baseUrl, mobile)) === "000000" ? "000001" : "000000";

    const answer = await signInWithSmsCode({ body: { mobile, code: wrong } });
    assert.equal(answer.response?.status, 400);
    const refusal: ErrorBody | undefined = answer.error;
    assert.equal(refusal?.code, "sms_code_invalid");
    assert.equal(refusal.attempts_left, 4);
    assert.equal(refusal.fields, undefined);
});
