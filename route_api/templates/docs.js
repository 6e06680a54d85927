"use strict";

// In a file of its own: the page's Content-Security-Policy runs no script that stands in it.
const page = document.getElementById("swagger-ui");

window.ui = SwaggerUIBundle({
  domNode: page,
  url: page.dataset.openapi,
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  defaultModelsExpandDepth: -1,
  validatorUrl: null, // no stranger is told of this server
});
