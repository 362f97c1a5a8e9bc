from reconciler.text.node_names import merge_urls


def test_what_sentences_have_in_common_stays_where_hosts_and_ports_differ():
    sentences = [f"no way by 10.0.0.9:22 to http://10.0.0.{number}:80/x" for number in (1, 2)]
    assert merge_urls(sentences) == "no way by 10.0.0.9:22 to http://ADDRESS/x"
    assert merge_urls(sentences[:1]) == sentences[0]
