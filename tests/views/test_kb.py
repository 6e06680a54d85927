"""`/kb`"""
def test_list(client, dify):
    dify.play("datasets/list-default")
    r = client.get("/kb/list")
    assert r.json["data"]["total"]
    print(r.json["data"]["kbs"][0], dify.calls)
def test_list2(client, dify):
    print(client.get("/v1/kb/list?page_size=a").json)
    print({k: (v._apidoc.keys()) for k,v in client.application.view_functions.items() if hasattr(v,"_apidoc")})
    v=client.application.view_functions["document.upload_documents"]
    print(v._apidoc)
    from flask import Flask
    print(dir(client.application.blueprints["document"]), client.application.blueprints["document"]._docs)
