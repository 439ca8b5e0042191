// Do Postman and Bruno import the document, with a request for every operation and its example as the body?
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { promisify } from 'node:util';

const require = createRequire(import.meta.url); // both are CommonJS
const { openApiToBruno } = require('@usebruno/converters');
const postman = require('openapi-to-postmanv2');

const document = JSON.parse(readFileSync(process.env.OPENAPI, 'utf8'));
const operations = Object.values(document.paths).flatMap((path) => Object.values(path));
const signIn = { mobile: '13800100500', code: '246810' };

function requests(items, nested) {
  return items.flatMap((item) => (item[nested] ? requests(item[nested], nested) : [item]));
}

test('Postman imports a request for every operation', async () => {
  const options = { parametersResolution: 'Example' };
  const imported = await promisify(postman.convertV2)({ type: 'json', data: structuredClone(document) }, options);
  assert.ok(imported.result, imported.reason);
  const found = requests(imported.output[0].data.item, 'item');
  assert.equal(found.length, operations.length);
  const body = found.find(({ name }) => name === 'Sign in or register with an SMS code').request.body.raw;
  assert.deepEqual(JSON.parse(body), signIn);
});

test('Bruno imports a request for every operation', async () => {
  const found = requests((await openApiToBruno(structuredClone(document))).items, 'items');
  assert.equal(found.length, operations.length);
  const body = found.find(({ name }) => name === 'Sign in or register with an SMS code').request.body.json;
  assert.deepEqual(JSON.parse(body), signIn);
});
