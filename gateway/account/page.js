// Links carry their token behind the #, which browsers send to nobody. It leaves the address at once, so that no history keeps it.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const query = new URLSearchParams(location.search);
const [, , page, provider] = location.pathname.split("/");
history.replaceState(null, "", location.pathname);

const form = document.querySelector("form");
const say = (text) => { document.querySelector("output").textContent = text; };

async function call(verb, path, body) {
  const options = { method: verb, headers: { "content-type": "application/json", "x-use-cookie": "true" }, body: body && JSON.stringify(body) };
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message);
  return answer;
}

// For the pages of this tab only; gone when it is closed. The refresh token is a cookie, which no script sees.
function keep(session) {
  sessionStorage.setItem("treadle.session", JSON.stringify(session));
  return `You are signed in as ${session.email}.`;
}

async function start(name) {
  const login = await call("POST", `/v1/auth/oidc/${encodeURIComponent(name)}:start`, {});
  sessionStorage.setItem(`treadle.login.${name}`, login.login_token);
  location.assign(login.authorization_url);
}

const pages = {
  "verify-email": async () => `Thank you: ${(await call("POST", "/v1/auth/email:verify", { token })).email} is yours.`,
  "reset-password": async () => {
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const body = { token, new_password: new FormData(form).get("new_password") };
      call("POST", "/v1/auth/password:reset", body).then(() => { form.hidden = true; say("The password is set. Sign in with it."); }, fail);
    });
    return "";
  },
  "sign-in": async () => {
    if (token) return keep(await call("POST", "/v1/auth/sign_in_links:redeem", { token }));
    const { providers } = await call("GET", "/v1/auth/oidc/providers");
    for (const name of providers) {
      const button = document.createElement("button");
      button.textContent = `Sign in with ${name}`;
      button.addEventListener("click", () => start(name).catch(fail));
      document.querySelector("nav").append(button);
    }
    return providers.length ? "" : "Ask for a sign-in link: treadle up prints one.";
  },
  oidc: async () => {
    const kept = `treadle.login.${provider}`;
    const login_token = sessionStorage.getItem(kept);
    sessionStorage.removeItem(kept);
    if (query.get("error") || !login_token) throw new Error("This login was not started here, or the provider refused. Start again.");
    const body = { login_token, state: query.get("state"), code: query.get("code") };
    return keep(await call("POST", `/v1/auth/oidc/${provider}:finish`, body));
  },
};

const fail = (error) => say(error.message);
pages[page]().then(say, fail);
