import { client } from "./phonepass/client.gen.js";
import { sendSmsCode, signInWithSmsCode } from "./phonepass/index.js";

export async function signIn(baseUrl: string, mobile: string, askForCode: () => Promise<string>) {
    client.setConfig({ baseUrl });
    await sendSmsCode({ body: { mobile }, throwOnError: true });
    const code = await askForCode();
    const { data } = await signInWithSmsCode({ body: { mobile, code }, throwOnError: true });
    return data.data;
}
