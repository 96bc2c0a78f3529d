// A small web server. Usage: node web.mjs PORT
import http from "node:http";

http.createServer((request, response) => response.end("hello\n")).listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
