// Can a newcomer find their way with nothing but the service's own pages: Swagger UI, the SMS page, no internet?
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer as createProxy, request as forward } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const STEP = 60_000;
const MOBILE = '13800138000';
const TEST_MOBILE = '13800100500';
const BINARY = resolve(process.env.PHONEPASS_BIN ?? join(process.env.CARGO_TARGET_DIR ?? 'target', 'debug/phonepass'));

let dir, origin, server, exited, browser, screenshots;
let stderr = '';

before(async () => {
  assert.ok(process.env.CHROMIUM, 'CHROMIUM names the browser to use; ./test.sh finds it');
  dir = await mkdtemp(join(tmpdir(), 'phonepass-browser-'));
  screenshots = await mkdtemp(join(process.env.SCREENSHOT_DIR ?? tmpdir(), 'phonepass-screenshots-'));
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

test('a newcomer presses every step of Swagger UI as it is, without internet', { timeout: 10 * STEP }, async () => {
  await visit(async (page, show) => {
    await page.goto(origin);
    await show(page, 'home');
    await page.getByRole('link', { name: 'Swagger UI' }).click();
    await page.locator('.opblock').first().waitFor();
    await show(page, 'swagger_ui');

    await execute(page, 'send_sms_code', 200);
    const signedIn = await execute(page, 'sign_in_with_sms_code', 201);
    await show(page, 'signed_in');
    await authorize(page, 'access_token', signedIn.data.token);
    const user = await execute(page, 'get_current_user', 200);
    assert.deepEqual([user.data.id, user.data.mobile], [signedIn.data.user_id, TEST_MOBILE]);

    // Whoever reloads the page is still authorized.
    await page.reload();
    await execute(page, 'get_current_user', 200);
    await show(page, 'authorized_after_a_reload');

    await execute(page, 'send_login_sms_code', 200);
    await execute(page, 'update_current_user', 200);
    await execute(page, 'change_password', 204);
    await execute(page, 'list_sessions', 200);
    await execute(page, 'end_other_sessions', 204);
    await execute(page, 'check_authorization', 204);
    await execute(page, 'sign_in_with_password', 201);
    await execute(page, 'get_image_code', 200);
    const picture = operation(page, 'get_image_code').locator('.live-responses-table img');
    await picture.waitFor();
    assert.equal(await picture.evaluate((image) => image.naturalWidth), 200);
    await picture.scrollIntoViewIfNeeded();
    await show(page, 'picture_code');
    for (const id of ['get_health', 'get_readiness', 'get_jwks', 'get_openid_configuration']) await execute(page, id, 200);

    await authorize(page, 'refresh_token', signedIn.data.refresh_token);
    await authorize(page, 'access_token');
    const refreshed = await execute(page, 'refresh_token', 201);
    await authorize(page, 'access_token', refreshed.data.token);
    await authorize(page, 'refresh_token');
    await execute(page, 'change_mobile', 200);
    await execute(page, 'delete_account', 204);
    await execute(page, 'ihome_register', 200);
    await execute(page, 'passport_sign_in', 200);
    await authorize(page, 'access_token'); // from here on it is the cookie that counts
    await execute(page, 'ihome_get_user', 200);
    await show(page, 'classic');
  });
});

test('a newcomer signs in with the number of their own by the SMS page', { timeout: 5 * STEP }, async () => {
  await visit(async (page, show) => {
    await page.goto(`${origin}/docs`);
    await execute(page, 'send_sms_code', 200, { example: 'your_number' });

    const [sms] = await Promise.all([
      page.waitForEvent('popup').catch(() => page),
      page.locator('.info a[href="/dev/sms"]').first().click(),
    ]);
    const code = await shownCode(sms);
    await show(sms, 'sms_page');

    const docs = sms === page ? await page.goBack().then(() => page) : page;
    const { data } = await execute(docs, 'sign_in_with_sms_code', 201, { body: { mobile: MOBILE, code } });
    assert.match(data.token, /^[\w-]+\.[\w-]+\.[\w-]+$/);
  });
});

test('a newcomer reads Chinese, and is told in Chinese what went wrong', { timeout: 5 * STEP }, async () => {
  await visit(async (page, show) => {
    await page.goto(`${origin}/docs`);
    await page.getByRole('link', { name: '中文' }).first().click();
    await page.getByText('令牌').first().waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh');
    await execute(page, 'send_sms_code', 200);
    const refused = await execute(page, 'sign_in_with_sms_code', 400, { body: { mobile: '1', code: '123456' } });
    assert.equal(refused.message, '手机号格式不正确');
    await show(page, 'chinese');

    await page.getByRole('link', { name: 'English' }).first().click();
    await page.getByText('Sign in or register with an SMS code').first().waitFor();
    const again = await execute(page, 'sign_in_with_sms_code', 400, { body: { mobile: '1', code: '123456' } });
    assert.equal(again.message, 'The mobile number is invalid');
  });
});

test('behind a proxy that shows the service below a path, the pages and what they send stay below it', { timeout: 5 * STEP }, async () => {
  const paths = [];
  const proxy = createProxy((request, response) => {
    paths.push(request.url);
    if (!request.url.startsWith('/auth/')) return response.writeHead(404).end();
    const { method, headers } = request;
    const forwarded = forward(`${origin}${request.url.slice('/auth'.length)}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    return request.pipe(forwarded);
  });
  await once(proxy.listen(0, '127.0.0.1'), 'listening');
  const shown = `http://127.0.0.1:${proxy.address().port}`;
  try {
    await visit(async (page) => {
      await page.goto(`${shown}/auth/`);
      await page.getByRole('link', { name: 'Swagger UI' }).click();
      await execute(page, 'get_health', 200);
      await page.getByRole('link', { name: '中文' }).first().click();
      await page.getByText('令牌').first().waitFor();
    }, shown);
    assert.deepEqual(paths.filter((path) => !path.startsWith('/auth/') && path !== '/favicon.ico'), []);
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
});

test('SIGTERM ends the service with exit code 0', { timeout: STEP }, async () => {
  server.kill('SIGTERM');
  const [code, signal] = await exited;
  if (code !== 0) showServerLog();
  assert.deepEqual({ code, signal }, { code: 0, signal: null });
});

/** Lets a visitor look around in a browser that reaches this service alone, where it is shown, and keeps what they saw. */
async function visit(look, reached = origin) {
  const elsewhere = [];
  const context = await browser.newContext({ serviceWorkers: 'block', viewport: { width: 1280, height: 1000 } });
  context.setDefaultTimeout(STEP);
  await context.route('**/*', (route) => {
    const url = route.request().url();
    if (new URL(url).origin === reached || url.startsWith('blob:')) return route.continue();
    elsewhere.push(url);
    return route.abort();
  });
  await context.routeWebSocket(/.*/, (socket) => {
    elsewhere.push(socket.url());
    socket.close();
  });
  const refused = [];
  context.on('console', (message) => {
    // Where a page asks for an icon of its own accord, there is none.
    const text = message.text();
    if (text.includes('Content Security Policy') && !text.includes('favicon.ico')) refused.push(text);
  });
  const page = await context.newPage();
  const show = (shown, name) => shown.screenshot({ path: join(screenshots, `${name}.png`) });
  try {
    await look(page, show);
    assert.deepEqual(elsewhere, [], 'the pages ask other hosts for something');
    assert.deepEqual(refused, [], 'the pages want more than their policy allows');
  } catch (error) {
    await show(page, 'failure').catch((reason) => console.error(`no screenshot: ${reason.message}`));
    showServerLog();
    throw error;
  } finally {
    console.error(`screenshots: ${screenshots}`);
    await context.close();
  }
}

function operation(page, id) {
  return page.locator(`[id^="operations-"][id$="-${id}"]`);
}

/** Sends one operation as a person does, as it is or with another example or body; gives the JSON that the page shows. */
async function execute(page, id, status, { example, body } = {}) {
  const block = operation(page, id);
  await block.waitFor();
  const button = block.getByRole('button', { name: 'Execute' });
  if (!(await button.isVisible())) {
    if (!(await block.evaluate((element) => element.classList.contains('is-open')))) {
      await block.locator('.opblock-summary-control').click();
    }
    await block.getByRole('button', { name: 'Try it out' }).click();
  }
  if (example) await block.locator('.opblock-section-request-body select.examples-select-element').selectOption(example);
  if (body) await block.locator('textarea.body-param__text').fill(JSON.stringify(body));
  const answered = page.waitForResponse((response) => response.request().method() !== 'OPTIONS' && !response.url().startsWith('blob:'));
  await button.click();
  const answer = await answered;
  const row = block.locator('.live-responses-table tr.response');
  // "Undocumented" beside the number would mean a status that the document does not list.
  const shown = (await row.locator('.response-col_status').innerText()).trim();
  const text = await row.locator('.response-col_description').first().innerText();
  assert.equal(shown, String(status), `${id}: ${text}`);
  assert.equal(answer.status(), status, id);
  if (!(answer.headers()['content-type'] ?? '').startsWith('application/json')) return undefined;
  const json = await answer.json();
  // The classic families refuse under 200.
  assert.ok((json.errno ?? 0) === 0, `${id}: ${text}`);
  return json;
}

/** Gives the page a token for a scheme, or takes it away. */
async function authorize(page, scheme, token) {
  await page.locator('.auth-wrapper > .btn.authorize').click();
  const dialog = page.locator('.dialog-ux');
  // Every bearer scheme has a form of its own, with the same ids: take the one below the scheme's name.
  const form = dialog.locator(`xpath=.//h4[code="${scheme}"]/ancestor::form[1]`);
  const logout = form.getByText('Logout', { exact: true });
  if (await logout.isVisible()) await logout.click();
  if (token) {
    await form.locator('input').fill(token);
    await form.getByText('Authorize', { exact: true }).click();
    await logout.waitFor();
  }
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
