"""The page `/install`, on which a person makes the account. `flask dify provision` sends people there, as to Dify's."""

from flask import Blueprint

blueprint = Blueprint("install", __name__)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Sandbox: make the account</title>
<style>body { font: 16px sans-serif; max-width: 24em; margin: 3em auto } label, input { display: block; width: 100% }
input, button { margin: .2em 0 1em; padding: .4em; box-sizing: border-box; font: inherit }</style>
<h1>Make the account</h1>
<p>The sandbox has one account, as the owner of a new Dify.</p>
<form>
<label>E-mail <input name="email" type="email" required></label>
<label>Name <input name="name" required></label>
<label>Password, at least 8 characters with letters and digits
<input name="password" type="password" minlength="8" required></label>
<button>Make it</button>
</form>
<p role="status"></p>
<script>
document.querySelector("form").onsubmit = async (event) => {
  event.preventDefault();
  const fields = JSON.stringify(Object.fromEntries(new FormData(event.target)));
  const answer = await fetch("/console/api/setup",
    {method: "POST", headers: {"Content-Type": "application/json"}, body: fields});
  document.querySelector("[role=status]").textContent = {
    201: "The account is made. Run flask dify provision with it.",
    403: "There is an account already.",
    422: "The password needs letters and digits, and the e-mail a domain.",
  }[answer.status] ?? "The sandbox answered " + answer.status + ".";
};
</script>
</html>
"""


@blueprint.get("/install")
def install() -> str:
    """Show the form. It sends what Dify's own page sends."""
    return PAGE
