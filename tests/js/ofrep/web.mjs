// The OFREP provider for browsers: all flags in one request, then notifications.
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk';
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider';
import { EventSource } from 'eventsource';

globalThis.EventSource = EventSource;
const [baseUrl, key] = process.argv.slice(2);
const statuses = [];
const watching = async (request) => {
  const response = await fetch(request);
  statuses.push(response.status);
  return response;
};
await OpenFeature.setContext({ targetingKey: 'alice' });
await OpenFeature.setProviderAndWait(new OFREPWebProvider({
  baseUrl, headers: [['x-api-key', key]], cacheMode: 'disabled', fetchImplementation: watching,
}));
const client = OpenFeature.getClient();
const answers = () => ({
  plain: client.getBooleanDetails('plain', false),
  model: client.getStringDetails('model', 'none'),
  hers: client.getBooleanDetails('hers', false),
  theirs: client.getBooleanDetails('theirs', true),
  statuses: [...statuses],
});
const changed = new Promise((resolve) => {
  client.addHandler(ProviderEvents.ConfigurationChanged, (event) => {
    if (event?.flagsChanged?.includes('plain')) resolve();
  });
});
console.log(JSON.stringify(answers()));
await changed;
console.log(JSON.stringify(answers()));
await OpenFeature.setContext({ targetingKey: 'bob' });
console.log(JSON.stringify(answers()));
await OpenFeature.close();
process.exit(0);
