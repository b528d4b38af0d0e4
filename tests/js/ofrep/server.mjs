// The OFREP provider for servers: one request for each evaluation.
import { OpenFeature } from '@openfeature/server-sdk';
import { OFREPProvider } from '@openfeature/ofrep-provider';

const [baseUrl, key] = process.argv.slice(2);
await OpenFeature.setProviderAndWait(
  new OFREPProvider({ baseUrl, headers: [['Authorization', `Bearer ${key}`]] }),
);
const client = OpenFeature.getClient();
const alice = { targetingKey: 'alice', plan: 'pro' };
console.log(JSON.stringify({
  plain: await client.getBooleanDetails('plain', false, alice),
  model: await client.getStringDetails('model', 'none', alice),
  limit: await client.getNumberDetails('limit', 1, alice),
  shape: await client.getObjectDetails('shape', {}, alice),
  off: await client.getBooleanDetails('off', true, alice),
  theirs: await client.getBooleanDetails('theirs', true, alice),
  mismatch: await client.getNumberDetails('model', 7, alice),
  nobody: await client.getBooleanDetails('plain', false, {}),
}));
await OpenFeature.close();
