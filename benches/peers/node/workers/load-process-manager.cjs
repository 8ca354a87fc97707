const { worker } = require('load-process-manager');

worker.on('request', (request) => request.respond(request.data));
worker.ready();
