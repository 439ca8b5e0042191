// The phone of a test: a number of its own, and the messages that the console provider shows.
import { randomInt } from "node:crypto";

export function newMobile(): string {
    return `1${randomInt(3, 10)}${String(randomInt(1_000_000_000)).padStart(9, "0")}`;
}

export async function readCode(service: string, mobile: string): Promise<string> {
    const answer = await fetch(`${service}/dev/sms`, { headers: { accept: "application/json" } });
    const messages = (await answer.json()) as { mobile: string; code: string }[];
    const newest = messages.find((message) => message.mobile === mobile);
    if (!newest) throw new Error(`no message for ${mobile}`);
    return newest.code;
}
