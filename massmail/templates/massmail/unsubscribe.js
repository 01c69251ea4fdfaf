// Presses the button for the reader. A browser that only prepares the page has to wait for its reader.
const unsubscribe = () => document.forms[0].submit();
if (document.prerendering) document.addEventListener("prerenderingchange", unsubscribe, {once: true});
else unsubscribe();
