// Can a newcomer sign in with nothing but the service's own pages: Swagger UI, the SMS page, no internet?
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const STEP = 60_000;
const MOBILE = '13800138000';
const BINARY = resolve(process.env.PHONEPASS_BIN ?? join(process.env.CARGO_TARGET_DIR ?? 'target', 'debug/phonepass'));

let dir, origin, server, exited, browser;
let stderr = '';

before(async () => {
  assert.ok(process.env.CHROMIUM, 'CHROMIUM names the browser to use; ./test.sh finds it');
  dir = await mkdtemp(join(tmpdir(), 'phonepass-browser-'));
  const address = `127.0.0.1:${await freePort()}`;
  origin = `http://${address}`;
  // Nothing but defaults; a folder of its own, because a .env file counts in the current one.
  server = spawn(BINARY, [], {
    cwd: dir,
    env: { HTTP_ADDR: address, DATA_DIR: join(dir, 'data') },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  exited = once(server, 'exit');
  exited.catch(() => {}); // a binary that cannot be started is reported by ready()
  server.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
  try {
    await ready();
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM,
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--no-proxy-server',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
      ],
    });
  } catch (error) {
    showServerLog();
    throw error;
  }
}, { timeout: 2 * STEP });

after(async () => {
  await browser?.close();
  if (server?.pid && server.exitCode === null && server.signalCode === null) {
    server.kill('SIGKILL');
    await exited;
  }
  if (dir) await rm(dir, { recursive: true, force: true });
});

test('a newcomer signs in with Swagger UI and the SMS page, without internet', { timeout: 10 * STEP }, async () => {
  const elsewhere = [];
  const context = await browser.newContext({ serviceWorkers: 'block' });
  context.setDefaultTimeout(STEP);
  await context.route('**/*', (route) => {
    const url = route.request().url();
    if (new URL(url).origin === origin) return route.continue();
    elsewhere.push(url);
    return route.abort();
  });
  await context.routeWebSocket(/.*/, (socket) => {
    elsewhere.push(socket.url());
    socket.close();
  });
  const docs = await context.newPage();
  let page = docs;
  try {
    await docs.goto(`${origin}/docs`);

    await execute(docs, 'send_sms_code', 200, { mobile: MOBILE });

    page = await context.newPage();
    await page.goto(`${origin}/dev/sms`);
    const code = await shownCode(page);
    page = docs;

    const { data } = await execute(docs, 'sign_in_with_sms_code', 201, { mobile: MOBILE, code });
    assert.match(data.token, /^[\w-]+\.[\w-]+\.[\w-]+$/);

    await authorize(docs, 'access_token', data.token);

    const user = await execute(docs, 'get_current_user', 200);
    assert.equal(user.data.mobile, MOBILE);
    assert.equal(user.data.id, data.user_id);

    assert.deepEqual(elsewhere, [], 'the pages ask other hosts for something');
  } catch (error) {
    const path = join(process.env.SCREENSHOT_DIR ?? tmpdir(), `phonepass-swagger-ui-${process.pid}.png`);
    const saved = await page.screenshot({ path, fullPage: true }).then(() => path, (reason) => `none, ${reason.message}`);
    console.error(`screenshot: ${saved}`);
    showServerLog();
    throw error;
  } finally {
    await context.close();
  }
});

test('SIGTERM ends the service with exit code 0', { timeout: STEP }, async () => {
  server.kill('SIGTERM');
  const [code, signal] = await exited;
  if (code !== 0) showServerLog();
  assert.deepEqual({ code, signal }, { code: 0, signal: null });
});

/** Fills and sends one operation as a person does; gives the JSON that the page shows. */
async function execute(page, operationId, status, body) {
  const operation = page.locator(`[id^="operations-"][id$="-${operationId}"]`);
  await operation.locator('.opblock-summary-control').click();
  await operation.getByRole('button', { name: 'Try it out' }).click();
  if (body) await operation.locator('textarea.body-param__text').fill(JSON.stringify(body));
  await operation.getByRole('button', { name: 'Execute' }).click();
  const response = operation.locator('.live-responses-table tr.response');
  // "Undocumented" beside the number would mean a status that the document does not list.
  const shown = (await response.locator('.response-col_status').innerText()).trim();
  const text = await response.locator('.response-col_description .microlight').first().innerText();
  assert.equal(shown, String(status), `${operationId}: ${text}`);
  return JSON.parse(text);
}

async function authorize(page, scheme, token) {
  await page.locator('.auth-wrapper > .btn.authorize').click();
  const dialog = page.locator('.dialog-ux');
  // Every bearer scheme has a form of its own, with the same ids: take the one below the scheme's name.
  const form = dialog.locator(`xpath=.//h4[code="${scheme}"]/ancestor::form[1]`);
  await form.locator('input').fill(token);
  await form.getByText('Authorize', { exact: true }).click();
  await form.getByText('Logout', { exact: true }).waitFor();
  await form.getByText('Close', { exact: true }).click();
  await dialog.waitFor({ state: 'hidden' });
}

/** The six digits in the innermost element that shows the number too; not those of a time or an id. */
async function shownCode(page) {
  const entry = page.locator('body *', { hasText: MOBILE }).filter({ hasText: /(?<![\w.])\d{6}(?![\w.])/ }).last();
  const [code] = (await entry.innerText()).match(/(?<![\w.])\d{6}(?![\w.])/) ?? [];
  assert.ok(code, '/dev/sms shows no code');
  return code;
}

async function ready() {
  let failed;
  server.once('error', (error) => (failed = error));
  const deadline = Date.now() + STEP;
  let last = 'no answer';
  while (Date.now() < deadline) {
    if (failed) throw failed;
    assert.equal(server.exitCode ?? server.signalCode, null, 'the service ended instead of getting ready');
    try {
      const response = await fetch(`${origin}/readyz`, { signal: AbortSignal.timeout(5_000) });
      if (response.status === 200) return;
      last = `${response.status} ${await response.text()}`;
    } catch (error) {
      last = error.cause?.message ?? error.message;
    }
    await delay(100);
  }
  assert.fail(`/readyz within ${STEP} ms: ${last}`);
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address();
  probe.close();
  await once(probe, 'close');
  return port;
}

function showServerLog() {
  console.error(`--- stderr of ${BINARY}\n${stderr}---`);
}
