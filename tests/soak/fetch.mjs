// node's fetch, ten operations at a time. Usage: node --expose-gc fetch.mjs CLIENT STEADY FLAPPING DEAD COUNT, then a round's number a line.
import readline from "node:readline";

const METHODS = ["GET", "GET", "POST", "GET", "PUT", "GET", "GET", "GET", "POST", "GET"];
const [client, ...numbers] = process.argv.slice(2);
const [steady, flapping, dead, count] = numbers.map(Number);

async function operation(number, n) {
	const port = n % 10 === 9 ? dead : n % 10 === 7 || n % 10 === 8 ? flapping : steady;
	const path = `/${client}/${number}/${n}`, method = METHODS[n % 10];
	try {
		const limit = AbortSignal.timeout(n % 13 === 12 ? 40 : 30000);
		const answer = await fetch(`http://127.0.0.1:${port}${path}`, {method, signal: limit, body: method === "GET" ? undefined : "x".repeat(100)});
		const body = await answer.text();
		return answer.status !== 200 || body === `${path}\n`.repeat(20) ? String(answer.status) : "corrupt";
	} catch {
		return "fail";
	}
}

for await (const line of readline.createInterface({input: process.stdin})) {
	let results = [];
	for (let first = 0; first < count; first += 10)
		results = results.concat(await Promise.all(Array.from({length: 10}, (_, i) => operation(line, first + i))));
	while (process.getActiveResourcesInfo().some((each) => /^(TCP|Connect|Timeout)/.test(each)))
		await new Promise((done) => setImmediate(done));
	gc();
	console.log(JSON.stringify({results}));
}
