# For the installation tree and for each repository, chooses the first mirror that answers and has the expected repomd.xml. Tries all
# mirrors in turn, and does not wait long for any single mirror.
answers() { # NAME DIGEST URL...: sets `mirror`
    local name=$1 digest=$2 round candidate found problem
    shift 2
    for round in 1 2 3 4 5; do
        for candidate; do
            # anaconda and dracut add a slash before the path, and not every server accepts two slashes.
            candidate=${candidate%/}
            problem=$(fetched --max-time 60 --output /tmp/repomd.xml "$candidate/repodata/repomd.xml") || {
                problem="$candidate: $problem"
                say "$problem"
                continue
            }
            found=$(sha256sum < /tmp/repomd.xml)
            if [ -n "$digest" ] && [ "${found%% *}" != "$digest" ]; then
                problem="$candidate: repomd.xml has sha256 ${found%% *}, but the recipe expects $digest"
                say "$problem"
                continue
            fi
            mirror=$candidate
            return
        done
        say "no usable server of $name (round $round of 5): $*"
        sleep "$((round * ${ETCD_IMAGE_PAUSE:-5}))"
    done
    if [ "$#" -gt 1 ]; then problem+=". All addresses: $*"; fi
    fail "$name is not available from $problem"
}

answers 'the installation tree' '{{ install.repomd_sha256 }}' {% for tree in install.trees %}{{ tree|sh }} {% endfor %}

tree=$mirror
sources="url --url=\"$tree\""
{% for repo in install.repos %}
answers 'the repository {{ repo.name }}' '{{ repo.repomd_sha256 }}' {% for url in repo.urls %}{{ url|sh }} {% endfor %}

sources+=$'\n'"repo --name={{ repo.name }} --baseurl=\"$mirror\""
{% endfor %}
echo "$sources" > /tmp/tree.ks
