import createClient from "openapi-fetch";
import type { paths } from "./phonepass.js";

export async function signIn(baseUrl: string, mobile: string, askForCode: () => Promise<string>) {
    const phonepass = createClient<paths>({ baseUrl });
    const sent = await phonepass.POST("/app/v1_0/sms/codes", { body: { mobile } });
    if (sent.error) throw new Error(sent.error.message);
    const code = await askForCode();
    const { data, error } = await phonepass.POST("/app/v1_0/authorizations", { body: { mobile, code } });
    if (error) throw new Error(error.message);
    return data.data;
}
