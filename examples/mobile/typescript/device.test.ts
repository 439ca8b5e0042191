// Does an app keep the id of its device, and does the service know the device by it?
import assert from "node:assert/strict";
import { test } from "node:test";
import { openDevice } from "./device.js";

test("the id is made up once, and is one that the service takes", async () => {
    let saved: string | undefined;
    const storage = { load: async () => saved, save: async (id: string) => void (saved = id) };
    const first = await openDevice(storage, { name: "a phone", platform: "ios" });
    assert.match(first.id, /^[A-Za-z0-9_-]{16,64}$/);
    assert.equal(saved, first.id);
    assert.deepEqual(await openDevice(storage, { name: "a phone", platform: "ios" }), first);
});
