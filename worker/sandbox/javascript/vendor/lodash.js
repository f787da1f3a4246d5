/* Built by tools/vendor/build.mjs. Licences: LICENSES.txt. */
(()=>{var up=Object.create;var ul=Object.defineProperty;var fp=Object.getOwnPropertyDescriptor;var lp=Object.getOwnPropertyNames;var op=Object.getPrototypeOf,sp=Object.prototype.hasOwnProperty;var ap=(l,X)=>()=>{try{return X||l((X={exports:{}}).exports,X),X.exports}catch(An){throw X=0,An}};var cp=(l,X,An,re)=>{if(X&&typeof X=="object"||typeof X=="function")for(let $ of lp(X))!sp.call(l,$)&&$!==An&&ul(l,$,{get:()=>X[$],enumerable:!(re=fp(X,$))||re.enumerable});return l};var hp=(l,X,An)=>(An=l!=null?up(op(l)):{},cp(X||!l||!l.__esModule?ul(An,"default",{value:l,enumerable:!0}):An,l));var fl=ap((bt,ee)=>{(function(){var l,X="4.18.1",An=200,re="Unsupported core-js use. Try https://npms.io/search?q=ponyfill.",$="Expected a function",ol="Invalid `variable` option passed into `_.templa\
te`",sl="Invalid `imports` option passed into `_.template`",ke="__lodash_hash_undefined__",al=500,ie="__lodash_placeholder__",$n=1,Ii=2,gt=4,_t=1,ue=2,hn=1,et=2,Si=4,mn=8,pt=16,Cn=32,vt=64,Bn=128,Pt=256,
je=512,cl=30,hl="...",gl=800,_l=16,Ti=1,pl=2,vl=3,rt=1/0,zn=9007199254740991,dl=17976931348623157e292,fe=NaN,On=4294967295,wl=On-1,xl=On>>>1,Al=[["ary",Bn],["bind",hn],["bindKey",et],["curry",mn],["cu\
rryRight",pt],["flip",je],["partial",Cn],["partialRight",vt],["rearg",Pt]],dt="[object Arguments]",le="[object Array]",Rl="[object AsyncFunction]",Bt="[object Boolean]",Mt="[object Date]",Il="[object \
DOMException]",oe="[object Error]",se="[object Function]",Ei="[object GeneratorFunction]",Rn="[object Map]",Ft="[object Number]",Sl="[object Null]",Mn="[object Object]",Li="[object Promise]",Tl="[obje\
ct Proxy]",Ut="[object RegExp]",In="[object Set]",Dt="[object String]",ae="[object Symbol]",El="[object Undefined]",Nt="[object WeakMap]",Ll="[object WeakSet]",Gt="[object ArrayBuffer]",wt="[object Da\
taView]",nr="[object Float32Array]",tr="[object Float64Array]",er="[object Int8Array]",rr="[object Int16Array]",ir="[object Int32Array]",ur="[object Uint8Array]",fr="[object Uint8ClampedArray]",lr="[o\
bject Uint16Array]",or="[object Uint32Array]",yl=/\b__p \+= '';/g,ml=/\b(__p \+=) '' \+/g,Cl=/(__e\(.*?\)|\b__t\)) \+\n'';/g,yi=/&(?:amp|lt|gt|quot|#39);/g,mi=/[&<>"']/g,Ol=RegExp(yi.source),Wl=RegExp(
mi.source),bl=/<%-([\s\S]+?)%>/g,Pl=/<%([\s\S]+?)%>/g,Ci=/<%=([\s\S]+?)%>/g,Bl=/\.|\[(?:[^[\]]*|(["'])(?:(?!\1)[^\\]|\\.)*?\1)\]/,Ml=/^\w*$/,Fl=/[^.[\]]+|\[(?:(-?\d+(?:\.\d+)?)|(["'])((?:(?!\2)[^\\]|\\.)*?)\2)\]|(?=(?:\.|\[\])(?:\.|\[\]|$))/g,
sr=/[\\^$.*+?()[\]{}|]/g,Ul=RegExp(sr.source),ar=/^\s+/,Dl=/\s/,Nl=/\{(?:\n\/\* \[wrapped with .+\] \*\/)?\n?/,Gl=/\{\n\/\* \[wrapped with (.+)\] \*/,Hl=/,? & /,ql=/[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+/g,
Oi=/[()=,{}\[\]\/\s]/,Kl=/\\(\\)?/g,$l=/\$\{([^\\}]*(?:\\.[^\\}]*)*)\}/g,Wi=/\w*$/,zl=/^[-+]0x[0-9a-f]+$/i,Zl=/^0b[01]+$/i,Yl=/^\[object .+?Constructor\]$/,Xl=/^0o[0-7]+$/i,Jl=/^(?:0|[1-9]\d*)$/,Ql=/[\xc0-\xd6\xd8-\xf6\xf8-\xff\u0100-\u017f]/g,
ce=/($^)/,Vl=/['\n\r\u2028\u2029\\]/g,he="\\ud800-\\udfff",kl="\\u0300-\\u036f",jl="\\ufe20-\\ufe2f",no="\\u20d0-\\u20ff",bi=kl+jl+no,Pi="\\u2700-\\u27bf",Bi="a-z\\xdf-\\xf6\\xf8-\\xff",to="\\xac\\xb1\\x\
d7\\xf7",eo="\\x00-\\x2f\\x3a-\\x40\\x5b-\\x60\\x7b-\\xbf",ro="\\u2000-\\u206f",io=" \\t\\x0b\\f\\xa0\\ufeff\\n\\r\\u2028\\u2029\\u1680\\u180e\\u2000\\u2001\\u2002\\u2003\\u2004\\u2005\\u2006\\u2007\\u2008\\u2009\\u200a\\u2\
02f\\u205f\\u3000",Mi="A-Z\\xc0-\\xd6\\xd8-\\xde",Fi="\\ufe0e\\ufe0f",Ui=to+eo+ro+io,cr="['\u2019]",uo="["+he+"]",Di="["+Ui+"]",ge="["+bi+"]",Ni="\\d+",fo="["+Pi+"]",Gi="["+Bi+"]",Hi="[^"+he+Ui+Ni+Pi+
Bi+Mi+"]",hr="\\ud83c[\\udffb-\\udfff]",lo="(?:"+ge+"|"+hr+")",qi="[^"+he+"]",gr="(?:\\ud83c[\\udde6-\\uddff]){2}",_r="[\\ud800-\\udbff][\\udc00-\\udfff]",xt="["+Mi+"]",Ki="\\u200d",$i="(?:"+Gi+"|"+Hi+
")",oo="(?:"+xt+"|"+Hi+")",zi="(?:"+cr+"(?:d|ll|m|re|s|t|ve))?",Zi="(?:"+cr+"(?:D|LL|M|RE|S|T|VE))?",Yi=lo+"?",Xi="["+Fi+"]?",so="(?:"+Ki+"(?:"+[qi,gr,_r].join("|")+")"+Xi+Yi+")*",ao="\\d*(?:1st|2nd|3r\
d|(?![123])\\dth)(?=\\b|[A-Z_])",co="\\d*(?:1ST|2ND|3RD|(?![123])\\dTH)(?=\\b|[a-z_])",Ji=Xi+Yi+so,ho="(?:"+[fo,gr,_r].join("|")+")"+Ji,go="(?:"+[qi+ge+"?",ge,gr,_r,uo].join("|")+")",_o=RegExp(cr,"g"),
po=RegExp(ge,"g"),pr=RegExp(hr+"(?="+hr+")|"+go+Ji,"g"),vo=RegExp([xt+"?"+Gi+"+"+zi+"(?="+[Di,xt,"$"].join("|")+")",oo+"+"+Zi+"(?="+[Di,xt+$i,"$"].join("|")+")",xt+"?"+$i+"+"+zi,xt+"+"+Zi,co,ao,Ni,ho].
join("|"),"g"),wo=RegExp("["+Ki+he+bi+Fi+"]"),xo=/[a-z][A-Z]|[A-Z]{2}[a-z]|[0-9][a-zA-Z]|[a-zA-Z][0-9]|[^a-zA-Z0-9 ]/,Ao=["Array","Buffer","DataView","Date","Error","Float32Array","Float64Array","Func\
tion","Int8Array","Int16Array","Int32Array","Map","Math","Object","Promise","RegExp","Set","String","Symbol","TypeError","Uint8Array","Uint8ClampedArray","Uint16Array","Uint32Array","WeakMap","_","cle\
arTimeout","isFinite","parseInt","setTimeout"],Ro=-1,F={};F[nr]=F[tr]=F[er]=F[rr]=F[ir]=F[ur]=F[fr]=F[lr]=F[or]=!0,F[dt]=F[le]=F[Gt]=F[Bt]=F[wt]=F[Mt]=F[oe]=F[se]=F[Rn]=F[Ft]=F[Mn]=F[Ut]=F[In]=F[Dt]=F[Nt]=
!1;var M={};M[dt]=M[le]=M[Gt]=M[wt]=M[Bt]=M[Mt]=M[nr]=M[tr]=M[er]=M[rr]=M[ir]=M[Rn]=M[Ft]=M[Mn]=M[Ut]=M[In]=M[Dt]=M[ae]=M[ur]=M[fr]=M[lr]=M[or]=!0,M[oe]=M[se]=M[Nt]=!1;var Io={\u00C0:"A",\u00C1:"A",\u00C2:"\
A",\u00C3:"A",\u00C4:"A",\u00C5:"A",\u00E0:"a",\u00E1:"a",\u00E2:"a",\u00E3:"a",\u00E4:"a",\u00E5:"a",\u00C7:"C",\u00E7:"c",\u00D0:"D",\u00F0:"d",\u00C8:"E",\u00C9:"E",\u00CA:"E",\u00CB:"E",\u00E8:"e",
\u00E9:"e",\u00EA:"e",\u00EB:"e",\u00CC:"I",\u00CD:"I",\u00CE:"I",\u00CF:"I",\u00EC:"i",\u00ED:"i",\u00EE:"i",\u00EF:"i",\u00D1:"N",\u00F1:"n",\u00D2:"O",\u00D3:"O",\u00D4:"O",\u00D5:"O",\u00D6:"O",\u00D8:"\
O",\u00F2:"o",\u00F3:"o",\u00F4:"o",\u00F5:"o",\u00F6:"o",\u00F8:"o",\u00D9:"U",\u00DA:"U",\u00DB:"U",\u00DC:"U",\u00F9:"u",\u00FA:"u",\u00FB:"u",\u00FC:"u",\u00DD:"Y",\u00FD:"y",\u00FF:"y",\u00C6:"Ae",
\u00E6:"ae",\u00DE:"Th",\u00FE:"th",\u00DF:"ss",\u0100:"A",\u0102:"A",\u0104:"A",\u0101:"a",\u0103:"a",\u0105:"a",\u0106:"C",\u0108:"C",\u010A:"C",\u010C:"C",\u0107:"c",\u0109:"c",\u010B:"c",\u010D:"c",
\u010E:"D",\u0110:"D",\u010F:"d",\u0111:"d",\u0112:"E",\u0114:"E",\u0116:"E",\u0118:"E",\u011A:"E",\u0113:"e",\u0115:"e",\u0117:"e",\u0119:"e",\u011B:"e",\u011C:"G",\u011E:"G",\u0120:"G",\u0122:"G",\u011D:"\
g",\u011F:"g",\u0121:"g",\u0123:"g",\u0124:"H",\u0126:"H",\u0125:"h",\u0127:"h",\u0128:"I",\u012A:"I",\u012C:"I",\u012E:"I",\u0130:"I",\u0129:"i",\u012B:"i",\u012D:"i",\u012F:"i",\u0131:"i",\u0134:"J",
\u0135:"j",\u0136:"K",\u0137:"k",\u0138:"k",\u0139:"L",\u013B:"L",\u013D:"L",\u013F:"L",\u0141:"L",\u013A:"l",\u013C:"l",\u013E:"l",\u0140:"l",\u0142:"l",\u0143:"N",\u0145:"N",\u0147:"N",\u014A:"N",\u0144:"\
n",\u0146:"n",\u0148:"n",\u014B:"n",\u014C:"O",\u014E:"O",\u0150:"O",\u014D:"o",\u014F:"o",\u0151:"o",\u0154:"R",\u0156:"R",\u0158:"R",\u0155:"r",\u0157:"r",\u0159:"r",\u015A:"S",\u015C:"S",\u015E:"S",
\u0160:"S",\u015B:"s",\u015D:"s",\u015F:"s",\u0161:"s",\u0162:"T",\u0164:"T",\u0166:"T",\u0163:"t",\u0165:"t",\u0167:"t",\u0168:"U",\u016A:"U",\u016C:"U",\u016E:"U",\u0170:"U",\u0172:"U",\u0169:"u",\u016B:"\
u",\u016D:"u",\u016F:"u",\u0171:"u",\u0173:"u",\u0174:"W",\u0175:"w",\u0176:"Y",\u0177:"y",\u0178:"Y",\u0179:"Z",\u017B:"Z",\u017D:"Z",\u017A:"z",\u017C:"z",\u017E:"z",\u0132:"IJ",\u0133:"ij",\u0152:"\
Oe",\u0153:"oe",\u0149:"'n",\u017F:"s"},So={"&":"&amp;","<":"&lt;",">":"&gt;",'"':"&quot;","'":"&#39;"},To={"&amp;":"&","&lt;":"<","&gt;":">","&quot;":'"',"&#39;":"'"},Eo={"\\":"\\","'":"'","\n":"n","\
\r":"r","\u2028":"u2028","\u2029":"u2029"},Lo=parseFloat,yo=parseInt,Qi=typeof globalThis=="object"&&globalThis&&globalThis.Object===Object&&globalThis,mo=typeof self=="object"&&self&&self.Object===Object&&
self,z=Qi||mo||Function("return this")(),vr=typeof bt=="object"&&bt&&!bt.nodeType&&bt,it=vr&&typeof ee=="object"&&ee&&!ee.nodeType&&ee,Vi=it&&it.exports===vr,dr=Vi&&Qi.process,gn=(function(){try{var a=it&&
it.require&&it.require("util").types;return a||dr&&dr.binding&&dr.binding("util")}catch{}})(),ki=gn&&gn.isArrayBuffer,ji=gn&&gn.isDate,nu=gn&&gn.isMap,tu=gn&&gn.isRegExp,eu=gn&&gn.isSet,ru=gn&&gn.isTypedArray;
function un(a,g,h){switch(h.length){case 0:return a.call(g);case 1:return a.call(g,h[0]);case 2:return a.call(g,h[0],h[1]);case 3:return a.call(g,h[0],h[1],h[2])}return a.apply(g,h)}function Co(a,g,h,w){
for(var S=-1,W=a==null?0:a.length;++S<W;){var q=a[S];g(w,q,h(q),a)}return w}function fn(a,g){for(var h=-1,w=a==null?0:a.length;++h<w&&g(a[h],h,a)!==!1;);return a}function Oo(a,g){for(var h=a==null?0:a.
length;h--&&g(a[h],h,a)!==!1;);return a}function iu(a,g){for(var h=-1,w=a==null?0:a.length;++h<w;)if(!g(a[h],h,a))return!1;return!0}function Zn(a,g){for(var h=-1,w=a==null?0:a.length,S=0,W=[];++h<w;){
var q=a[h];g(q,h,a)&&(W[S++]=q)}return W}function _e(a,g){var h=a==null?0:a.length;return!!h&&At(a,g,0)>-1}function wr(a,g,h){for(var w=-1,S=a==null?0:a.length;++w<S;)if(h(g,a[w]))return!0;return!1}function U(a,g){
for(var h=-1,w=a==null?0:a.length,S=Array(w);++h<w;)S[h]=g(a[h],h,a);return S}function Yn(a,g){for(var h=-1,w=g.length,S=a.length;++h<w;)a[S+h]=g[h];return a}function xr(a,g,h,w){var S=-1,W=a==null?0:
a.length;for(w&&W&&(h=a[++S]);++S<W;)h=g(h,a[S],S,a);return h}function Wo(a,g,h,w){var S=a==null?0:a.length;for(w&&S&&(h=a[--S]);S--;)h=g(h,a[S],S,a);return h}function Ar(a,g){for(var h=-1,w=a==null?0:
a.length;++h<w;)if(g(a[h],h,a))return!0;return!1}var bo=Rr("length");function Po(a){return a.split("")}function Bo(a){return a.match(ql)||[]}function uu(a,g,h){var w;return h(a,function(S,W,q){if(g(S,
W,q))return w=W,!1}),w}function pe(a,g,h,w){for(var S=a.length,W=h+(w?1:-1);w?W--:++W<S;)if(g(a[W],W,a))return W;return-1}function At(a,g,h){return g===g?Zo(a,g,h):pe(a,fu,h)}function Mo(a,g,h,w){for(var S=h-
1,W=a.length;++S<W;)if(w(a[S],g))return S;return-1}function fu(a){return a!==a}function lu(a,g){var h=a==null?0:a.length;return h?Sr(a,g)/h:fe}function Rr(a){return function(g){return g==null?l:g[a]}}
function Ir(a){return function(g){return a==null?l:a[g]}}function ou(a,g,h,w,S){return S(a,function(W,q,B){h=w?(w=!1,W):g(h,W,q,B)}),h}function Fo(a,g){var h=a.length;for(a.sort(g);h--;)a[h]=a[h].value;
return a}function Sr(a,g){for(var h,w=-1,S=a.length;++w<S;){var W=g(a[w]);W!==l&&(h=h===l?W:h+W)}return h}function Tr(a,g){for(var h=-1,w=Array(a);++h<a;)w[h]=g(h);return w}function Uo(a,g){return U(g,
function(h){return[h,a[h]]})}function su(a){return a&&a.slice(0,gu(a)+1).replace(ar,"")}function ln(a){return function(g){return a(g)}}function Er(a,g){return U(g,function(h){return a[h]})}function Ht(a,g){
return a.has(g)}function au(a,g){for(var h=-1,w=a.length;++h<w&&At(g,a[h],0)>-1;);return h}function cu(a,g){for(var h=a.length;h--&&At(g,a[h],0)>-1;);return h}function Do(a,g){for(var h=a.length,w=0;h--;)
a[h]===g&&++w;return w}var No=Ir(Io),Go=Ir(So);function Ho(a){return"\\"+Eo[a]}function qo(a,g){return a==null?l:a[g]}function Rt(a){return wo.test(a)}function Ko(a){return xo.test(a)}function $o(a){for(var g,
h=[];!(g=a.next()).done;)h.push(g.value);return h}function Lr(a){var g=-1,h=Array(a.size);return a.forEach(function(w,S){h[++g]=[S,w]}),h}function hu(a,g){return function(h){return a(g(h))}}function Xn(a,g){
for(var h=-1,w=a.length,S=0,W=[];++h<w;){var q=a[h];(q===g||q===ie)&&(a[h]=ie,W[S++]=h)}return W}function ve(a){var g=-1,h=Array(a.size);return a.forEach(function(w){h[++g]=w}),h}function zo(a){var g=-1,
h=Array(a.size);return a.forEach(function(w){h[++g]=[w,w]}),h}function Zo(a,g,h){for(var w=h-1,S=a.length;++w<S;)if(a[w]===g)return w;return-1}function Yo(a,g,h){for(var w=h+1;w--;)if(a[w]===g)return w;
return w}function It(a){return Rt(a)?Jo(a):bo(a)}function Sn(a){return Rt(a)?Qo(a):Po(a)}function gu(a){for(var g=a.length;g--&&Dl.test(a.charAt(g)););return g}var Xo=Ir(To);function Jo(a){for(var g=pr.
lastIndex=0;pr.test(a);)++g;return g}function Qo(a){return a.match(pr)||[]}function Vo(a){return a.match(vo)||[]}var ko=(function a(g){g=g==null?z:Jn.defaults(z.Object(),g,Jn.pick(z,Ao));var h=g.Array,
w=g.Date,S=g.Error,W=g.Function,q=g.Math,B=g.Object,yr=g.RegExp,jo=g.String,_n=g.TypeError,de=h.prototype,ns=W.prototype,St=B.prototype,we=g["__core-js_shared__"],xe=ns.toString,b=St.hasOwnProperty,ts=0,
_u=(function(){var n=/[^.]+$/.exec(we&&we.keys&&we.keys.IE_PROTO||"");return n?"Symbol(src)_1."+n:""})(),Ae=St.toString,es=xe.call(B),rs=z._,is=yr("^"+xe.call(b).replace(sr,"\\$&").replace(/hasOwnProperty|(function).*?(?=\\\()| for .+?(?=\\\])/g,
"$1.*?")+"$"),Re=Vi?g.Buffer:l,Qn=g.Symbol,Ie=g.Uint8Array,pu=Re?Re.allocUnsafe:l,Se=hu(B.getPrototypeOf,B),vu=B.create,du=St.propertyIsEnumerable,Te=de.splice,wu=Qn?Qn.isConcatSpreadable:l,qt=Qn?Qn.iterator:
l,ut=Qn?Qn.toStringTag:l,Ee=(function(){try{var n=at(B,"defineProperty");return n({},"",{}),n}catch{}})(),us=g.clearTimeout!==z.clearTimeout&&g.clearTimeout,fs=w&&w.now!==z.Date.now&&w.now,ls=g.setTimeout!==
z.setTimeout&&g.setTimeout,Le=q.ceil,ye=q.floor,mr=B.getOwnPropertySymbols,os=Re?Re.isBuffer:l,xu=g.isFinite,ss=de.join,as=hu(B.keys,B),K=q.max,J=q.min,cs=w.now,hs=g.parseInt,Au=q.random,gs=de.reverse,
Cr=at(g,"DataView"),Kt=at(g,"Map"),Or=at(g,"Promise"),Tt=at(g,"Set"),$t=at(g,"WeakMap"),zt=at(B,"create"),me=$t&&new $t,Et={},_s=ct(Cr),ps=ct(Kt),vs=ct(Or),ds=ct(Tt),ws=ct($t),Ce=Qn?Qn.prototype:l,Zt=Ce?
Ce.valueOf:l,Ru=Ce?Ce.toString:l;function u(n){if(N(n)&&!T(n)&&!(n instanceof C)){if(n instanceof pn)return n;if(b.call(n,"__wrapped__"))return Sf(n)}return new pn(n)}var Lt=(function(){function n(){}
return function(t){if(!D(t))return{};if(vu)return vu(t);n.prototype=t;var e=new n;return n.prototype=l,e}})();function Oe(){}function pn(n,t){this.__wrapped__=n,this.__actions__=[],this.__chain__=!!t,
this.__index__=0,this.__values__=l}u.templateSettings={escape:bl,evaluate:Pl,interpolate:Ci,variable:"",imports:{_:u}},u.prototype=Oe.prototype,u.prototype.constructor=u,pn.prototype=Lt(Oe.prototype),
pn.prototype.constructor=pn;function C(n){this.__wrapped__=n,this.__actions__=[],this.__dir__=1,this.__filtered__=!1,this.__iteratees__=[],this.__takeCount__=On,this.__views__=[]}function xs(){var n=new C(
this.__wrapped__);return n.__actions__=nn(this.__actions__),n.__dir__=this.__dir__,n.__filtered__=this.__filtered__,n.__iteratees__=nn(this.__iteratees__),n.__takeCount__=this.__takeCount__,n.__views__=
nn(this.__views__),n}function As(){if(this.__filtered__){var n=new C(this);n.__dir__=-1,n.__filtered__=!0}else n=this.clone(),n.__dir__*=-1;return n}function Rs(){var n=this.__wrapped__.value(),t=this.
__dir__,e=T(n),r=t<0,i=e?n.length:0,f=Pa(0,i,this.__views__),o=f.start,s=f.end,c=s-o,_=r?s:o-1,p=this.__iteratees__,v=p.length,d=0,x=J(c,this.__takeCount__);if(!e||!r&&i==c&&x==c)return zu(n,this.__actions__);
var I=[];n:for(;c--&&d<x;){_+=t;for(var L=-1,A=n[_];++L<v;){var m=p[L],O=m.iteratee,an=m.type,j=O(A);if(an==pl)A=j;else if(!j){if(an==Ti)continue n;break n}}I[d++]=A}return I}C.prototype=Lt(Oe.prototype),
C.prototype.constructor=C;function ft(n){var t=-1,e=n==null?0:n.length;for(this.clear();++t<e;){var r=n[t];this.set(r[0],r[1])}}function Is(){this.__data__=zt?zt(null):{},this.size=0}function Ss(n){var t=this.
has(n)&&delete this.__data__[n];return this.size-=t?1:0,t}function Ts(n){var t=this.__data__;if(zt){var e=t[n];return e===ke?l:e}return b.call(t,n)?t[n]:l}function Es(n){var t=this.__data__;return zt?
t[n]!==l:b.call(t,n)}function Ls(n,t){var e=this.__data__;return this.size+=this.has(n)?0:1,e[n]=zt&&t===l?ke:t,this}ft.prototype.clear=Is,ft.prototype.delete=Ss,ft.prototype.get=Ts,ft.prototype.has=Es,
ft.prototype.set=Ls;function Fn(n){var t=-1,e=n==null?0:n.length;for(this.clear();++t<e;){var r=n[t];this.set(r[0],r[1])}}function ys(){this.__data__=[],this.size=0}function ms(n){var t=this.__data__,
e=We(t,n);if(e<0)return!1;var r=t.length-1;return e==r?t.pop():Te.call(t,e,1),--this.size,!0}function Cs(n){var t=this.__data__,e=We(t,n);return e<0?l:t[e][1]}function Os(n){return We(this.__data__,n)>
-1}function Ws(n,t){var e=this.__data__,r=We(e,n);return r<0?(++this.size,e.push([n,t])):e[r][1]=t,this}Fn.prototype.clear=ys,Fn.prototype.delete=ms,Fn.prototype.get=Cs,Fn.prototype.has=Os,Fn.prototype.
set=Ws;function Un(n){var t=-1,e=n==null?0:n.length;for(this.clear();++t<e;){var r=n[t];this.set(r[0],r[1])}}function bs(){this.size=0,this.__data__={hash:new ft,map:new(Kt||Fn),string:new ft}}function Ps(n){
var t=Ke(this,n).delete(n);return this.size-=t?1:0,t}function Bs(n){return Ke(this,n).get(n)}function Ms(n){return Ke(this,n).has(n)}function Fs(n,t){var e=Ke(this,n),r=e.size;return e.set(n,t),this.size+=
e.size==r?0:1,this}Un.prototype.clear=bs,Un.prototype.delete=Ps,Un.prototype.get=Bs,Un.prototype.has=Ms,Un.prototype.set=Fs;function lt(n){var t=-1,e=n==null?0:n.length;for(this.__data__=new Un;++t<e;)
this.add(n[t])}function Us(n){return this.__data__.set(n,ke),this}function Ds(n){return this.__data__.has(n)}lt.prototype.add=lt.prototype.push=Us,lt.prototype.has=Ds;function Tn(n){var t=this.__data__=
new Fn(n);this.size=t.size}function Ns(){this.__data__=new Fn,this.size=0}function Gs(n){var t=this.__data__,e=t.delete(n);return this.size=t.size,e}function Hs(n){return this.__data__.get(n)}function qs(n){
return this.__data__.has(n)}function Ks(n,t){var e=this.__data__;if(e instanceof Fn){var r=e.__data__;if(!Kt||r.length<An-1)return r.push([n,t]),this.size=++e.size,this;e=this.__data__=new Un(r)}return e.
set(n,t),this.size=e.size,this}Tn.prototype.clear=Ns,Tn.prototype.delete=Gs,Tn.prototype.get=Hs,Tn.prototype.has=qs,Tn.prototype.set=Ks;function Iu(n,t){var e=T(n),r=!e&&ht(n),i=!e&&!r&&tt(n),f=!e&&!r&&
!i&&Ot(n),o=e||r||i||f,s=o?Tr(n.length,jo):[],c=s.length;for(var _ in n)(t||b.call(n,_))&&!(o&&(_=="length"||i&&(_=="offset"||_=="parent")||f&&(_=="buffer"||_=="byteLength"||_=="byteOffset")||Gn(_,c)))&&
s.push(_);return s}function Su(n){var t=n.length;return t?n[Hr(0,t-1)]:l}function $s(n,t){return $e(nn(n),ot(t,0,n.length))}function zs(n){return $e(nn(n))}function Wr(n,t,e){(e!==l&&!Ln(n[t],e)||e===
l&&!(t in n))&&Wn(n,t,e)}function Yt(n,t,e){var r=n[t];(!(b.call(n,t)&&Ln(r,e))||e===l&&!(t in n))&&Wn(n,t,e)}function We(n,t){for(var e=n.length;e--;)if(Ln(n[e][0],t))return e;return-1}function Zs(n,t,e,r){
return Vn(n,function(i,f,o){t(r,i,e(i),o)}),r}function Tu(n,t){return n&&Pn(t,Z(t),n)}function Ys(n,t){return n&&Pn(t,en(t),n)}function Wn(n,t,e){t=="__proto__"&&Ee?Ee(n,t,{configurable:!0,enumerable:!0,
value:e,writable:!0}):n[t]=e}function br(n,t){for(var e=-1,r=t.length,i=h(r),f=n==null;++e<r;)i[e]=f?l:gi(n,t[e]);return i}function ot(n,t,e){return n===n&&(e!==l&&(n=n<=e?n:e),t!==l&&(n=n>=t?n:t)),n}
function vn(n,t,e,r,i,f){var o,s=t&$n,c=t&Ii,_=t&gt;if(e&&(o=i?e(n,r,i,f):e(n)),o!==l)return o;if(!D(n))return n;var p=T(n);if(p){if(o=Ma(n),!s)return nn(n,o)}else{var v=Q(n),d=v==se||v==Ei;if(tt(n))return Xu(
n,s);if(v==Mn||v==dt||d&&!i){if(o=c||d?{}:_f(n),!s)return c?Ta(n,Ys(o,n)):Sa(n,Tu(o,n))}else{if(!M[v])return i?n:{};o=Fa(n,v,s)}}f||(f=new Tn);var x=f.get(n);if(x)return x;f.set(n,o),Kf(n)?n.forEach(function(A){
o.add(vn(A,t,e,A,n,f))}):Hf(n)&&n.forEach(function(A,m){o.set(m,vn(A,t,e,m,n,f))});var I=_?c?kr:Vr:c?en:Z,L=p?l:I(n);return fn(L||n,function(A,m){L&&(m=A,A=n[m]),Yt(o,m,vn(A,t,e,m,n,f))}),o}function Xs(n){
var t=Z(n);return function(e){return Eu(e,n,t)}}function Eu(n,t,e){var r=e.length;if(n==null)return!r;for(n=B(n);r--;){var i=e[r],f=t[i],o=n[i];if(o===l&&!(i in n)||!f(o))return!1}return!0}function Lu(n,t,e){
if(typeof n!="function")throw new _n($);return ne(function(){n.apply(l,e)},t)}function Xt(n,t,e,r){var i=-1,f=_e,o=!0,s=n.length,c=[],_=t.length;if(!s)return c;e&&(t=U(t,ln(e))),r?(f=wr,o=!1):t.length>=
An&&(f=Ht,o=!1,t=new lt(t));n:for(;++i<s;){var p=n[i],v=e==null?p:e(p);if(p=r||p!==0?p:0,o&&v===v){for(var d=_;d--;)if(t[d]===v)continue n;c.push(p)}else f(t,v,r)||c.push(p)}return c}var Vn=ju(bn),yu=ju(
Br,!0);function Js(n,t){var e=!0;return Vn(n,function(r,i,f){return e=!!t(r,i,f),e}),e}function be(n,t,e){for(var r=-1,i=n.length;++r<i;){var f=n[r],o=t(f);if(o!=null&&(s===l?o===o&&!sn(o):e(o,s)))var s=o,
c=f}return c}function Qs(n,t,e,r){var i=n.length;for(e=E(e),e<0&&(e=-e>i?0:i+e),r=r===l||r>i?i:E(r),r<0&&(r+=i),r=e>r?0:zf(r);e<r;)n[e++]=t;return n}function mu(n,t){var e=[];return Vn(n,function(r,i,f){
t(r,i,f)&&e.push(r)}),e}function Y(n,t,e,r,i){var f=-1,o=n.length;for(e||(e=Da),i||(i=[]);++f<o;){var s=n[f];t>0&&e(s)?t>1?Y(s,t-1,e,r,i):Yn(i,s):r||(i[i.length]=s)}return i}var Pr=nf(),Cu=nf(!0);function bn(n,t){
return n&&Pr(n,t,Z)}function Br(n,t){return n&&Cu(n,t,Z)}function Pe(n,t){return Zn(t,function(e){return Hn(n[e])})}function st(n,t){t=jn(t,n);for(var e=0,r=t.length;n!=null&&e<r;)n=n[En(t[e++])];return e&&
e==r?n:l}function Ou(n,t,e){var r=t(n);return T(n)?r:Yn(r,e(n))}function V(n){return n==null?n===l?El:Sl:ut&&ut in B(n)?ba(n):za(n)}function Mr(n,t){return n>t}function Vs(n,t){return n!=null&&b.call(
n,t)}function ks(n,t){return n!=null&&t in B(n)}function js(n,t,e){return n>=J(t,e)&&n<K(t,e)}function Fr(n,t,e){for(var r=e?wr:_e,i=n[0].length,f=n.length,o=f,s=h(f),c=1/0,_=[];o--;){var p=n[o];o&&t&&
(p=U(p,ln(t))),c=J(p.length,c),s[o]=!e&&(t||i>=120&&p.length>=120)?new lt(o&&p):l}p=n[0];var v=-1,d=s[0];n:for(;++v<i&&_.length<c;){var x=p[v],I=t?t(x):x;if(x=e||x!==0?x:0,!(d?Ht(d,I):r(_,I,e))){for(o=
f;--o;){var L=s[o];if(!(L?Ht(L,I):r(n[o],I,e)))continue n}d&&d.push(I),_.push(x)}}return _}function na(n,t,e,r){return bn(n,function(i,f,o){t(r,e(i),f,o)}),r}function Jt(n,t,e){t=jn(t,n),n=wf(n,t);var r=n==
null?n:n[En(wn(t))];return r==null?l:un(r,n,e)}function Wu(n){return N(n)&&V(n)==dt}function ta(n){return N(n)&&V(n)==Gt}function ea(n){return N(n)&&V(n)==Mt}function Qt(n,t,e,r,i){return n===t?!0:n==
null||t==null||!N(n)&&!N(t)?n!==n&&t!==t:ra(n,t,e,r,Qt,i)}function ra(n,t,e,r,i,f){var o=T(n),s=T(t),c=o?le:Q(n),_=s?le:Q(t);c=c==dt?Mn:c,_=_==dt?Mn:_;var p=c==Mn,v=_==Mn,d=c==_;if(d&&tt(n)){if(!tt(t))
return!1;o=!0,p=!1}if(d&&!p)return f||(f=new Tn),o||Ot(n)?cf(n,t,e,r,i,f):Oa(n,t,c,e,r,i,f);if(!(e&_t)){var x=p&&b.call(n,"__wrapped__"),I=v&&b.call(t,"__wrapped__");if(x||I){var L=x?n.value():n,A=I?t.
value():t;return f||(f=new Tn),i(L,A,e,r,f)}}return d?(f||(f=new Tn),Wa(n,t,e,r,i,f)):!1}function ia(n){return N(n)&&Q(n)==Rn}function Ur(n,t,e,r){var i=e.length,f=i,o=!r;if(n==null)return!f;for(n=B(n);i--;){
var s=e[i];if(o&&s[2]?s[1]!==n[s[0]]:!(s[0]in n))return!1}for(;++i<f;){s=e[i];var c=s[0],_=n[c],p=s[1];if(o&&s[2]){if(_===l&&!(c in n))return!1}else{var v=new Tn;if(r)var d=r(_,p,c,n,t,v);if(!(d===l?Qt(
p,_,_t|ue,r,v):d))return!1}}return!0}function bu(n){if(!D(n)||Ga(n))return!1;var t=Hn(n)?is:Yl;return t.test(ct(n))}function ua(n){return N(n)&&V(n)==Ut}function fa(n){return N(n)&&Q(n)==In}function la(n){
return N(n)&&Qe(n.length)&&!!F[V(n)]}function Pu(n){return typeof n=="function"?n:n==null?rn:typeof n=="object"?T(n)?Fu(n[0],n[1]):Mu(n):rl(n)}function Dr(n){if(!jt(n))return as(n);var t=[];for(var e in B(
n))b.call(n,e)&&e!="constructor"&&t.push(e);return t}function oa(n){if(!D(n))return $a(n);var t=jt(n),e=[];for(var r in n)r=="constructor"&&(t||!b.call(n,r))||e.push(r);return e}function Nr(n,t){return n<
t}function Bu(n,t){var e=-1,r=tn(n)?h(n.length):[];return Vn(n,function(i,f,o){r[++e]=t(i,f,o)}),r}function Mu(n){var t=ni(n);return t.length==1&&t[0][2]?vf(t[0][0],t[0][1]):function(e){return e===n||
Ur(e,n,t)}}function Fu(n,t){return ei(n)&&pf(t)?vf(En(n),t):function(e){var r=gi(e,n);return r===l&&r===t?_i(e,n):Qt(t,r,_t|ue)}}function Be(n,t,e,r,i){n!==t&&Pr(t,function(f,o){if(i||(i=new Tn),D(f))
sa(n,t,o,e,Be,r,i);else{var s=r?r(ii(n,o),f,o+"",n,t,i):l;s===l&&(s=f),Wr(n,o,s)}},en)}function sa(n,t,e,r,i,f,o){var s=ii(n,e),c=ii(t,e),_=o.get(c);if(_){Wr(n,e,_);return}var p=f?f(s,c,e+"",n,t,o):l,
v=p===l;if(v){var d=T(c),x=!d&&tt(c),I=!d&&!x&&Ot(c);p=c,d||x||I?T(s)?p=s:G(s)?p=nn(s):x?(v=!1,p=Xu(c,!0)):I?(v=!1,p=Ju(c,!0)):p=[]:te(c)||ht(c)?(p=s,ht(s)?p=Zf(s):(!D(s)||Hn(s))&&(p=_f(c))):v=!1}v&&(o.
set(c,p),i(p,c,r,f,o),o.delete(c)),Wr(n,e,p)}function Uu(n,t){var e=n.length;if(e)return t+=t<0?e:0,Gn(t,e)?n[t]:l}function Du(n,t,e){t.length?t=U(t,function(f){return T(f)?function(o){return st(o,f.length===
1?f[0]:f)}:f}):t=[rn];var r=-1;t=U(t,ln(R()));var i=Bu(n,function(f,o,s){var c=U(t,function(_){return _(f)});return{criteria:c,index:++r,value:f}});return Fo(i,function(f,o){return Ia(f,o,e)})}function aa(n,t){
return Nu(n,t,function(e,r){return _i(n,r)})}function Nu(n,t,e){for(var r=-1,i=t.length,f={};++r<i;){var o=t[r],s=st(n,o);e(s,o)&&Vt(f,jn(o,n),s)}return f}function ca(n){return function(t){return st(t,
n)}}function Gr(n,t,e,r){var i=r?Mo:At,f=-1,o=t.length,s=n;for(n===t&&(t=nn(t)),e&&(s=U(n,ln(e)));++f<o;)for(var c=0,_=t[f],p=e?e(_):_;(c=i(s,p,c,r))>-1;)s!==n&&Te.call(s,c,1),Te.call(n,c,1);return n}
function Gu(n,t){for(var e=n?t.length:0,r=e-1;e--;){var i=t[e];if(e==r||i!==f){var f=i;Gn(i)?Te.call(n,i,1):$r(n,i)}}return n}function Hr(n,t){return n+ye(Au()*(t-n+1))}function ha(n,t,e,r){for(var i=-1,
f=K(Le((t-n)/(e||1)),0),o=h(f);f--;)o[r?f:++i]=n,n+=e;return o}function qr(n,t){var e="";if(!n||t<1||t>zn)return e;do t%2&&(e+=n),t=ye(t/2),t&&(n+=n);while(t);return e}function y(n,t){return ui(df(n,t,
rn),n+"")}function ga(n){return Su(Wt(n))}function _a(n,t){var e=Wt(n);return $e(e,ot(t,0,e.length))}function Vt(n,t,e,r){if(!D(n))return n;t=jn(t,n);for(var i=-1,f=t.length,o=f-1,s=n;s!=null&&++i<f;){
var c=En(t[i]),_=e;if(c==="__proto__"||c==="constructor"||c==="prototype")return n;if(i!=o){var p=s[c];_=r?r(p,c,s):l,_===l&&(_=D(p)?p:Gn(t[i+1])?[]:{})}Yt(s,c,_),s=s[c]}return n}var Hu=me?function(n,t){
return me.set(n,t),n}:rn,pa=Ee?function(n,t){return Ee(n,"toString",{configurable:!0,enumerable:!1,value:vi(t),writable:!0})}:rn;function va(n){return $e(Wt(n))}function dn(n,t,e){var r=-1,i=n.length;
t<0&&(t=-t>i?0:i+t),e=e>i?i:e,e<0&&(e+=i),i=t>e?0:e-t>>>0,t>>>=0;for(var f=h(i);++r<i;)f[r]=n[r+t];return f}function da(n,t){var e;return Vn(n,function(r,i,f){return e=t(r,i,f),!e}),!!e}function Me(n,t,e){
var r=0,i=n==null?r:n.length;if(typeof t=="number"&&t===t&&i<=xl){for(;r<i;){var f=r+i>>>1,o=n[f];o!==null&&!sn(o)&&(e?o<=t:o<t)?r=f+1:i=f}return i}return Kr(n,t,rn,e)}function Kr(n,t,e,r){var i=0,f=n==
null?0:n.length;if(f===0)return 0;t=e(t);for(var o=t!==t,s=t===null,c=sn(t),_=t===l;i<f;){var p=ye((i+f)/2),v=e(n[p]),d=v!==l,x=v===null,I=v===v,L=sn(v);if(o)var A=r||I;else _?A=I&&(r||d):s?A=I&&d&&(r||
!x):c?A=I&&d&&!x&&(r||!L):x||L?A=!1:A=r?v<=t:v<t;A?i=p+1:f=p}return J(f,wl)}function qu(n,t){for(var e=-1,r=n.length,i=0,f=[];++e<r;){var o=n[e],s=t?t(o):o;if(!e||!Ln(s,c)){var c=s;f[i++]=o===0?0:o}}return f}
function Ku(n){return typeof n=="number"?n:sn(n)?fe:+n}function on(n){if(typeof n=="string")return n;if(T(n))return U(n,on)+"";if(sn(n))return Ru?Ru.call(n):"";var t=n+"";return t=="0"&&1/n==-rt?"-0":
t}function kn(n,t,e){var r=-1,i=_e,f=n.length,o=!0,s=[],c=s;if(e)o=!1,i=wr;else if(f>=An){var _=t?null:ma(n);if(_)return ve(_);o=!1,i=Ht,c=new lt}else c=t?[]:s;n:for(;++r<f;){var p=n[r],v=t?t(p):p;if(p=
e||p!==0?p:0,o&&v===v){for(var d=c.length;d--;)if(c[d]===v)continue n;t&&c.push(v),s.push(p)}else i(c,v,e)||(c!==s&&c.push(v),s.push(p))}return s}function $r(n,t){t=jn(t,n);var e=-1,r=t.length;if(!r)return!0;
for(;++e<r;){var i=En(t[e]);if(i==="__proto__"&&!b.call(n,"__proto__")||(i==="constructor"||i==="prototype")&&e<r-1)return!1}var f=wf(n,t);return f==null||delete f[En(wn(t))]}function $u(n,t,e,r){return Vt(
n,t,e(st(n,t)),r)}function Fe(n,t,e,r){for(var i=n.length,f=r?i:-1;(r?f--:++f<i)&&t(n[f],f,n););return e?dn(n,r?0:f,r?f+1:i):dn(n,r?f+1:0,r?i:f)}function zu(n,t){var e=n;return e instanceof C&&(e=e.value()),
xr(t,function(r,i){return i.func.apply(i.thisArg,Yn([r],i.args))},e)}function zr(n,t,e){var r=n.length;if(r<2)return r?kn(n[0]):[];for(var i=-1,f=h(r);++i<r;)for(var o=n[i],s=-1;++s<r;)s!=i&&(f[i]=Xt(
f[i]||o,n[s],t,e));return kn(Y(f,1),t,e)}function Zu(n,t,e){for(var r=-1,i=n.length,f=t.length,o={};++r<i;){var s=r<f?t[r]:l;e(o,n[r],s)}return o}function Zr(n){return G(n)?n:[]}function Yr(n){return typeof n==
"function"?n:rn}function jn(n,t){return T(n)?n:ei(n,t)?[n]:If(P(n))}var wa=y;function nt(n,t,e){var r=n.length;return e=e===l?r:e,!t&&e>=r?n:dn(n,t,e)}var Yu=us||function(n){return z.clearTimeout(n)};
function Xu(n,t){if(t)return n.slice();var e=n.length,r=pu?pu(e):new n.constructor(e);return n.copy(r),r}function Xr(n){var t=new n.constructor(n.byteLength);return new Ie(t).set(new Ie(n)),t}function xa(n,t){
var e=t?Xr(n.buffer):n.buffer;return new n.constructor(e,n.byteOffset,n.byteLength)}function Aa(n){var t=new n.constructor(n.source,Wi.exec(n));return t.lastIndex=n.lastIndex,t}function Ra(n){return Zt?
B(Zt.call(n)):{}}function Ju(n,t){var e=t?Xr(n.buffer):n.buffer;return new n.constructor(e,n.byteOffset,n.length)}function Qu(n,t){if(n!==t){var e=n!==l,r=n===null,i=n===n,f=sn(n),o=t!==l,s=t===null,c=t===
t,_=sn(t);if(!s&&!_&&!f&&n>t||f&&o&&c&&!s&&!_||r&&o&&c||!e&&c||!i)return 1;if(!r&&!f&&!_&&n<t||_&&e&&i&&!r&&!f||s&&e&&i||!o&&i||!c)return-1}return 0}function Ia(n,t,e){for(var r=-1,i=n.criteria,f=t.criteria,
o=i.length,s=e.length;++r<o;){var c=Qu(i[r],f[r]);if(c){if(r>=s)return c;var _=e[r];return c*(_=="desc"?-1:1)}}return n.index-t.index}function Vu(n,t,e,r){for(var i=-1,f=n.length,o=e.length,s=-1,c=t.length,
_=K(f-o,0),p=h(c+_),v=!r;++s<c;)p[s]=t[s];for(;++i<o;)(v||i<f)&&(p[e[i]]=n[i]);for(;_--;)p[s++]=n[i++];return p}function ku(n,t,e,r){for(var i=-1,f=n.length,o=-1,s=e.length,c=-1,_=t.length,p=K(f-s,0),
v=h(p+_),d=!r;++i<p;)v[i]=n[i];for(var x=i;++c<_;)v[x+c]=t[c];for(;++o<s;)(d||i<f)&&(v[x+e[o]]=n[i++]);return v}function nn(n,t){var e=-1,r=n.length;for(t||(t=h(r));++e<r;)t[e]=n[e];return t}function Pn(n,t,e,r){
var i=!e;e||(e={});for(var f=-1,o=t.length;++f<o;){var s=t[f],c=r?r(e[s],n[s],s,e,n):l;c===l&&(c=n[s]),i?Wn(e,s,c):Yt(e,s,c)}return e}function Sa(n,t){return Pn(n,ti(n),t)}function Ta(n,t){return Pn(n,
hf(n),t)}function Ue(n,t){return function(e,r){var i=T(e)?Co:Zs,f=t?t():{};return i(e,n,R(r,2),f)}}function yt(n){return y(function(t,e){var r=-1,i=e.length,f=i>1?e[i-1]:l,o=i>2?e[2]:l;for(f=n.length>
3&&typeof f=="function"?(i--,f):l,o&&k(e[0],e[1],o)&&(f=i<3?l:f,i=1),t=B(t);++r<i;){var s=e[r];s&&n(t,s,r,f)}return t})}function ju(n,t){return function(e,r){if(e==null)return e;if(!tn(e))return n(e,r);
for(var i=e.length,f=t?i:-1,o=B(e);(t?f--:++f<i)&&r(o[f],f,o)!==!1;);return e}}function nf(n){return function(t,e,r){for(var i=-1,f=B(t),o=r(t),s=o.length;s--;){var c=o[n?s:++i];if(e(f[c],c,f)===!1)break}
return t}}function Ea(n,t,e){var r=t&hn,i=kt(n);function f(){var o=this&&this!==z&&this instanceof f?i:n;return o.apply(r?e:this,arguments)}return f}function tf(n){return function(t){t=P(t);var e=Rt(t)?
Sn(t):l,r=e?e[0]:t.charAt(0),i=e?nt(e,1).join(""):t.slice(1);return r[n]()+i}}function mt(n){return function(t){return xr(tl(nl(t).replace(_o,"")),n,"")}}function kt(n){return function(){var t=arguments;
switch(t.length){case 0:return new n;case 1:return new n(t[0]);case 2:return new n(t[0],t[1]);case 3:return new n(t[0],t[1],t[2]);case 4:return new n(t[0],t[1],t[2],t[3]);case 5:return new n(t[0],t[1],
t[2],t[3],t[4]);case 6:return new n(t[0],t[1],t[2],t[3],t[4],t[5]);case 7:return new n(t[0],t[1],t[2],t[3],t[4],t[5],t[6])}var e=Lt(n.prototype),r=n.apply(e,t);return D(r)?r:e}}function La(n,t,e){var r=kt(
n);function i(){for(var f=arguments.length,o=h(f),s=f,c=Ct(i);s--;)o[s]=arguments[s];var _=f<3&&o[0]!==c&&o[f-1]!==c?[]:Xn(o,c);if(f-=_.length,f<e)return lf(n,t,De,i.placeholder,l,o,_,l,l,e-f);var p=this&&
this!==z&&this instanceof i?r:n;return un(p,this,o)}return i}function ef(n){return function(t,e,r){var i=B(t);if(!tn(t)){var f=R(e,3);t=Z(t),e=function(s){return f(i[s],s,i)}}var o=n(t,e,r);return o>-1?
i[f?t[o]:o]:l}}function rf(n){return Nn(function(t){var e=t.length,r=e,i=pn.prototype.thru;for(n&&t.reverse();r--;){var f=t[r];if(typeof f!="function")throw new _n($);if(i&&!o&&qe(f)=="wrapper")var o=new pn(
[],!0)}for(r=o?r:e;++r<e;){f=t[r];var s=qe(f),c=s=="wrapper"?jr(f):l;c&&ri(c[0])&&c[1]==(Bn|mn|Cn|Pt)&&!c[4].length&&c[9]==1?o=o[qe(c[0])].apply(o,c[3]):o=f.length==1&&ri(f)?o[s]():o.thru(f)}return function(){
var _=arguments,p=_[0];if(o&&_.length==1&&T(p))return o.plant(p).value();for(var v=0,d=e?t[v].apply(this,_):p;++v<e;)d=t[v].call(this,d);return d}})}function De(n,t,e,r,i,f,o,s,c,_){var p=t&Bn,v=t&hn,
d=t&et,x=t&(mn|pt),I=t&je,L=d?l:kt(n);function A(){for(var m=arguments.length,O=h(m),an=m;an--;)O[an]=arguments[an];if(x)var j=Ct(A),cn=Do(O,j);if(r&&(O=Vu(O,r,i,x)),f&&(O=ku(O,f,o,x)),m-=cn,x&&m<_){var H=Xn(
O,j);return lf(n,t,De,A.placeholder,e,O,H,s,c,_-m)}var yn=v?e:this,Kn=d?yn[n]:n;return m=O.length,s?O=Za(O,s):I&&m>1&&O.reverse(),p&&c<m&&(O.length=c),this&&this!==z&&this instanceof A&&(Kn=L||kt(Kn)),
Kn.apply(yn,O)}return A}function uf(n,t){return function(e,r){return na(e,n,t(r),{})}}function Ne(n,t){return function(e,r){var i;if(e===l&&r===l)return t;if(e!==l&&(i=e),r!==l){if(i===l)return r;typeof e==
"string"||typeof r=="string"?(e=on(e),r=on(r)):(e=Ku(e),r=Ku(r)),i=n(e,r)}return i}}function Jr(n){return Nn(function(t){return t=U(t,ln(R())),y(function(e){var r=this;return n(t,function(i){return un(
i,r,e)})})})}function Ge(n,t){t=t===l?" ":on(t);var e=t.length;if(e<2)return e?qr(t,n):t;var r=qr(t,Le(n/It(t)));return Rt(t)?nt(Sn(r),0,n).join(""):r.slice(0,n)}function ya(n,t,e,r){var i=t&hn,f=kt(n);
function o(){for(var s=-1,c=arguments.length,_=-1,p=r.length,v=h(p+c),d=this&&this!==z&&this instanceof o?f:n;++_<p;)v[_]=r[_];for(;c--;)v[_++]=arguments[++s];return un(d,i?e:this,v)}return o}function ff(n){
return function(t,e,r){return r&&typeof r!="number"&&k(t,e,r)&&(e=r=l),t=qn(t),e===l?(e=t,t=0):e=qn(e),r=r===l?t<e?1:-1:qn(r),ha(t,e,r,n)}}function He(n){return function(t,e){return typeof t=="string"&&
typeof e=="string"||(t=xn(t),e=xn(e)),n(t,e)}}function lf(n,t,e,r,i,f,o,s,c,_){var p=t&mn,v=p?o:l,d=p?l:o,x=p?f:l,I=p?l:f;t|=p?Cn:vt,t&=~(p?vt:Cn),t&Si||(t&=~(hn|et));var L=[n,t,i,x,v,I,d,s,c,_],A=e.apply(
l,L);return ri(n)&&xf(A,L),A.placeholder=r,Af(A,n,t)}function Qr(n){var t=q[n];return function(e,r){if(e=xn(e),r=r==null?0:J(E(r),292),r&&xu(e)){var i=(P(e)+"e").split("e"),f=t(i[0]+"e"+(+i[1]+r));return i=
(P(f)+"e").split("e"),+(i[0]+"e"+(+i[1]-r))}return t(e)}}var ma=Tt&&1/ve(new Tt([,-0]))[1]==rt?function(n){return new Tt(n)}:xi;function of(n){return function(t){var e=Q(t);return e==Rn?Lr(t):e==In?zo(
t):Uo(t,n(t))}}function Dn(n,t,e,r,i,f,o,s){var c=t&et;if(!c&&typeof n!="function")throw new _n($);var _=r?r.length:0;if(_||(t&=~(Cn|vt),r=i=l),o=o===l?o:K(E(o),0),s=s===l?s:E(s),_-=i?i.length:0,t&vt){
var p=r,v=i;r=i=l}var d=c?l:jr(n),x=[n,t,e,r,i,p,v,f,o,s];if(d&&Ka(x,d),n=x[0],t=x[1],e=x[2],r=x[3],i=x[4],s=x[9]=x[9]===l?c?0:n.length:K(x[9]-_,0),!s&&t&(mn|pt)&&(t&=~(mn|pt)),!t||t==hn)var I=Ea(n,t,
e);else t==mn||t==pt?I=La(n,t,s):(t==Cn||t==(hn|Cn))&&!i.length?I=ya(n,t,e,r):I=De.apply(l,x);var L=d?Hu:xf;return Af(L(I,x),n,t)}function sf(n,t,e,r){return n===l||Ln(n,St[e])&&!b.call(r,e)?t:n}function af(n,t,e,r,i,f){
return D(n)&&D(t)&&(f.set(t,n),Be(n,t,l,af,f),f.delete(t)),n}function Ca(n){return te(n)?l:n}function cf(n,t,e,r,i,f){var o=e&_t,s=n.length,c=t.length;if(s!=c&&!(o&&c>s))return!1;var _=f.get(n),p=f.get(
t);if(_&&p)return _==t&&p==n;var v=-1,d=!0,x=e&ue?new lt:l;for(f.set(n,t),f.set(t,n);++v<s;){var I=n[v],L=t[v];if(r)var A=o?r(L,I,v,t,n,f):r(I,L,v,n,t,f);if(A!==l){if(A)continue;d=!1;break}if(x){if(!Ar(
t,function(m,O){if(!Ht(x,O)&&(I===m||i(I,m,e,r,f)))return x.push(O)})){d=!1;break}}else if(!(I===L||i(I,L,e,r,f))){d=!1;break}}return f.delete(n),f.delete(t),d}function Oa(n,t,e,r,i,f,o){switch(e){case wt:
if(n.byteLength!=t.byteLength||n.byteOffset!=t.byteOffset)return!1;n=n.buffer,t=t.buffer;case Gt:return!(n.byteLength!=t.byteLength||!f(new Ie(n),new Ie(t)));case Bt:case Mt:case Ft:return Ln(+n,+t);case oe:
return n.name==t.name&&n.message==t.message;case Ut:case Dt:return n==t+"";case Rn:var s=Lr;case In:var c=r&_t;if(s||(s=ve),n.size!=t.size&&!c)return!1;var _=o.get(n);if(_)return _==t;r|=ue,o.set(n,t);
var p=cf(s(n),s(t),r,i,f,o);return o.delete(n),p;case ae:if(Zt)return Zt.call(n)==Zt.call(t)}return!1}function Wa(n,t,e,r,i,f){var o=e&_t,s=Vr(n),c=s.length,_=Vr(t),p=_.length;if(c!=p&&!o)return!1;for(var v=c;v--;){
var d=s[v];if(!(o?d in t:b.call(t,d)))return!1}var x=f.get(n),I=f.get(t);if(x&&I)return x==t&&I==n;var L=!0;f.set(n,t),f.set(t,n);for(var A=o;++v<c;){d=s[v];var m=n[d],O=t[d];if(r)var an=o?r(O,m,d,t,n,
f):r(m,O,d,n,t,f);if(!(an===l?m===O||i(m,O,e,r,f):an)){L=!1;break}A||(A=d=="constructor")}if(L&&!A){var j=n.constructor,cn=t.constructor;j!=cn&&"constructor"in n&&"constructor"in t&&!(typeof j=="funct\
ion"&&j instanceof j&&typeof cn=="function"&&cn instanceof cn)&&(L=!1)}return f.delete(n),f.delete(t),L}function Nn(n){return ui(df(n,l,Lf),n+"")}function Vr(n){return Ou(n,Z,ti)}function kr(n){return Ou(
n,en,hf)}var jr=me?function(n){return me.get(n)}:xi;function qe(n){for(var t=n.name+"",e=Et[t],r=b.call(Et,t)?e.length:0;r--;){var i=e[r],f=i.func;if(f==null||f==n)return i.name}return t}function Ct(n){
var t=b.call(u,"placeholder")?u:n;return t.placeholder}function R(){var n=u.iteratee||di;return n=n===di?Pu:n,arguments.length?n(arguments[0],arguments[1]):n}function Ke(n,t){var e=n.__data__;return Na(
t)?e[typeof t=="string"?"string":"hash"]:e.map}function ni(n){for(var t=Z(n),e=t.length;e--;){var r=t[e],i=n[r];t[e]=[r,i,pf(i)]}return t}function at(n,t){var e=qo(n,t);return bu(e)?e:l}function ba(n){
var t=b.call(n,ut),e=n[ut];try{n[ut]=l;var r=!0}catch{}var i=Ae.call(n);return r&&(t?n[ut]=e:delete n[ut]),i}var ti=mr?function(n){return n==null?[]:(n=B(n),Zn(mr(n),function(t){return du.call(n,t)}))}:
Ai,hf=mr?function(n){for(var t=[];n;)Yn(t,ti(n)),n=Se(n);return t}:Ai,Q=V;(Cr&&Q(new Cr(new ArrayBuffer(1)))!=wt||Kt&&Q(new Kt)!=Rn||Or&&Q(Or.resolve())!=Li||Tt&&Q(new Tt)!=In||$t&&Q(new $t)!=Nt)&&(Q=
function(n){var t=V(n),e=t==Mn?n.constructor:l,r=e?ct(e):"";if(r)switch(r){case _s:return wt;case ps:return Rn;case vs:return Li;case ds:return In;case ws:return Nt}return t});function Pa(n,t,e){for(var r=-1,
i=e.length;++r<i;){var f=e[r],o=f.size;switch(f.type){case"drop":n+=o;break;case"dropRight":t-=o;break;case"take":t=J(t,n+o);break;case"takeRight":n=K(n,t-o);break}}return{start:n,end:t}}function Ba(n){
var t=n.match(Gl);return t?t[1].split(Hl):[]}function gf(n,t,e){t=jn(t,n);for(var r=-1,i=t.length,f=!1;++r<i;){var o=En(t[r]);if(!(f=n!=null&&e(n,o)))break;n=n[o]}return f||++r!=i?f:(i=n==null?0:n.length,
!!i&&Qe(i)&&Gn(o,i)&&(T(n)||ht(n)))}function Ma(n){var t=n.length,e=new n.constructor(t);return t&&typeof n[0]=="string"&&b.call(n,"index")&&(e.index=n.index,e.input=n.input),e}function _f(n){return typeof n.
constructor=="function"&&!jt(n)?Lt(Se(n)):{}}function Fa(n,t,e){var r=n.constructor;switch(t){case Gt:return Xr(n);case Bt:case Mt:return new r(+n);case wt:return xa(n,e);case nr:case tr:case er:case rr:case ir:case ur:case fr:case lr:case or:
return Ju(n,e);case Rn:return new r;case Ft:case Dt:return new r(n);case Ut:return Aa(n);case In:return new r;case ae:return Ra(n)}}function Ua(n,t){var e=t.length;if(!e)return n;var r=e-1;return t[r]=
(e>1?"& ":"")+t[r],t=t.join(e>2?", ":" "),n.replace(Nl,`{
/* [wrapped with `+t+`] */
`)}function Da(n){return T(n)||ht(n)||!!(wu&&n&&n[wu])}function Gn(n,t){var e=typeof n;return t=t??zn,!!t&&(e=="number"||e!="symbol"&&Jl.test(n))&&n>-1&&n%1==0&&n<t}function k(n,t,e){if(!D(e))return!1;
var r=typeof t;return(r=="number"?tn(e)&&Gn(t,e.length):r=="string"&&t in e)?Ln(e[t],n):!1}function ei(n,t){if(T(n))return!1;var e=typeof n;return e=="number"||e=="symbol"||e=="boolean"||n==null||sn(n)?
!0:Ml.test(n)||!Bl.test(n)||t!=null&&n in B(t)}function Na(n){var t=typeof n;return t=="string"||t=="number"||t=="symbol"||t=="boolean"?n!=="__proto__":n===null}function ri(n){var t=qe(n),e=u[t];if(typeof e!=
"function"||!(t in C.prototype))return!1;if(n===e)return!0;var r=jr(e);return!!r&&n===r[0]}function Ga(n){return!!_u&&_u in n}var Ha=we?Hn:Ri;function jt(n){var t=n&&n.constructor,e=typeof t=="functio\
n"&&t.prototype||St;return n===e}function pf(n){return n===n&&!D(n)}function vf(n,t){return function(e){return e==null?!1:e[n]===t&&(t!==l||n in B(e))}}function qa(n){var t=Xe(n,function(r){return e.size===
al&&e.clear(),r}),e=t.cache;return t}function Ka(n,t){var e=n[1],r=t[1],i=e|r,f=i<(hn|et|Bn),o=r==Bn&&e==mn||r==Bn&&e==Pt&&n[7].length<=t[8]||r==(Bn|Pt)&&t[7].length<=t[8]&&e==mn;if(!(f||o))return n;r&
hn&&(n[2]=t[2],i|=e&hn?0:Si);var s=t[3];if(s){var c=n[3];n[3]=c?Vu(c,s,t[4]):s,n[4]=c?Xn(n[3],ie):t[4]}return s=t[5],s&&(c=n[5],n[5]=c?ku(c,s,t[6]):s,n[6]=c?Xn(n[5],ie):t[6]),s=t[7],s&&(n[7]=s),r&Bn&&
(n[8]=n[8]==null?t[8]:J(n[8],t[8])),n[9]==null&&(n[9]=t[9]),n[0]=t[0],n[1]=i,n}function $a(n){var t=[];if(n!=null)for(var e in B(n))t.push(e);return t}function za(n){return Ae.call(n)}function df(n,t,e){
return t=K(t===l?n.length-1:t,0),function(){for(var r=arguments,i=-1,f=K(r.length-t,0),o=h(f);++i<f;)o[i]=r[t+i];i=-1;for(var s=h(t+1);++i<t;)s[i]=r[i];return s[t]=e(o),un(n,this,s)}}function wf(n,t){
return t.length<2?n:st(n,dn(t,0,-1))}function Za(n,t){for(var e=n.length,r=J(t.length,e),i=nn(n);r--;){var f=t[r];n[r]=Gn(f,e)?i[f]:l}return n}function ii(n,t){if(!(t==="constructor"&&typeof n[t]=="fu\
nction")&&t!="__proto__")return n[t]}var xf=Rf(Hu),ne=ls||function(n,t){return z.setTimeout(n,t)},ui=Rf(pa);function Af(n,t,e){var r=t+"";return ui(n,Ua(r,Ya(Ba(r),e)))}function Rf(n){var t=0,e=0;return function(){
var r=cs(),i=_l-(r-e);if(e=r,i>0){if(++t>=gl)return arguments[0]}else t=0;return n.apply(l,arguments)}}function $e(n,t){var e=-1,r=n.length,i=r-1;for(t=t===l?r:t;++e<t;){var f=Hr(e,i),o=n[f];n[f]=n[e],
n[e]=o}return n.length=t,n}var If=qa(function(n){var t=[];return n.charCodeAt(0)===46&&t.push(""),n.replace(Fl,function(e,r,i,f){t.push(i?f.replace(Kl,"$1"):r||e)}),t});function En(n){if(typeof n=="st\
ring"||sn(n))return n;var t=n+"";return t=="0"&&1/n==-rt?"-0":t}function ct(n){if(n!=null){try{return xe.call(n)}catch{}try{return n+""}catch{}}return""}function Ya(n,t){return fn(Al,function(e){var r="\
_."+e[0];t&e[1]&&!_e(n,r)&&n.push(r)}),n.sort()}function Sf(n){if(n instanceof C)return n.clone();var t=new pn(n.__wrapped__,n.__chain__);return t.__actions__=nn(n.__actions__),t.__index__=n.__index__,
t.__values__=n.__values__,t}function Xa(n,t,e){(e?k(n,t,e):t===l)?t=1:t=K(E(t),0);var r=n==null?0:n.length;if(!r||t<1)return[];for(var i=0,f=0,o=h(Le(r/t));i<r;)o[f++]=dn(n,i,i+=t);return o}function Ja(n){
for(var t=-1,e=n==null?0:n.length,r=0,i=[];++t<e;){var f=n[t];f&&(i[r++]=f)}return i}function Qa(){var n=arguments.length;if(!n)return[];for(var t=h(n-1),e=arguments[0],r=n;r--;)t[r-1]=arguments[r];return Yn(
T(e)?nn(e):[e],Y(t,1))}var Va=y(function(n,t){return G(n)?Xt(n,Y(t,1,G,!0)):[]}),ka=y(function(n,t){var e=wn(t);return G(e)&&(e=l),G(n)?Xt(n,Y(t,1,G,!0),R(e,2)):[]}),ja=y(function(n,t){var e=wn(t);return G(
e)&&(e=l),G(n)?Xt(n,Y(t,1,G,!0),l,e):[]});function nc(n,t,e){var r=n==null?0:n.length;return r?(t=e||t===l?1:E(t),dn(n,t<0?0:t,r)):[]}function tc(n,t,e){var r=n==null?0:n.length;return r?(t=e||t===l?1:
E(t),t=r-t,dn(n,0,t<0?0:t)):[]}function ec(n,t){return n&&n.length?Fe(n,R(t,3),!0,!0):[]}function rc(n,t){return n&&n.length?Fe(n,R(t,3),!0):[]}function ic(n,t,e,r){var i=n==null?0:n.length;return i?(e&&
typeof e!="number"&&k(n,t,e)&&(e=0,r=i),Qs(n,t,e,r)):[]}function Tf(n,t,e){var r=n==null?0:n.length;if(!r)return-1;var i=e==null?0:E(e);return i<0&&(i=K(r+i,0)),pe(n,R(t,3),i)}function Ef(n,t,e){var r=n==
null?0:n.length;if(!r)return-1;var i=r-1;return e!==l&&(i=E(e),i=e<0?K(r+i,0):J(i,r-1)),pe(n,R(t,3),i,!0)}function Lf(n){var t=n==null?0:n.length;return t?Y(n,1):[]}function uc(n){var t=n==null?0:n.length;
return t?Y(n,rt):[]}function fc(n,t){var e=n==null?0:n.length;return e?(t=t===l?1:E(t),Y(n,t)):[]}function lc(n){for(var t=-1,e=n==null?0:n.length,r={};++t<e;){var i=n[t];Wn(r,i[0],i[1])}return r}function yf(n){
return n&&n.length?n[0]:l}function oc(n,t,e){var r=n==null?0:n.length;if(!r)return-1;var i=e==null?0:E(e);return i<0&&(i=K(r+i,0)),At(n,t,i)}function sc(n){var t=n==null?0:n.length;return t?dn(n,0,-1):
[]}var ac=y(function(n){var t=U(n,Zr);return t.length&&t[0]===n[0]?Fr(t):[]}),cc=y(function(n){var t=wn(n),e=U(n,Zr);return t===wn(e)?t=l:e.pop(),e.length&&e[0]===n[0]?Fr(e,R(t,2)):[]}),hc=y(function(n){
var t=wn(n),e=U(n,Zr);return t=typeof t=="function"?t:l,t&&e.pop(),e.length&&e[0]===n[0]?Fr(e,l,t):[]});function gc(n,t){return n==null?"":ss.call(n,t)}function wn(n){var t=n==null?0:n.length;return t?
n[t-1]:l}function _c(n,t,e){var r=n==null?0:n.length;if(!r)return-1;var i=r;return e!==l&&(i=E(e),i=i<0?K(r+i,0):J(i,r-1)),t===t?Yo(n,t,i):pe(n,fu,i,!0)}function pc(n,t){return n&&n.length?Uu(n,E(t)):
l}var vc=y(mf);function mf(n,t){return n&&n.length&&t&&t.length?Gr(n,t):n}function dc(n,t,e){return n&&n.length&&t&&t.length?Gr(n,t,R(e,2)):n}function wc(n,t,e){return n&&n.length&&t&&t.length?Gr(n,t,
l,e):n}var xc=Nn(function(n,t){var e=n==null?0:n.length,r=br(n,t);return Gu(n,U(t,function(i){return Gn(i,e)?+i:i}).sort(Qu)),r});function Ac(n,t){var e=[];if(!(n&&n.length))return e;var r=-1,i=[],f=n.
length;for(t=R(t,3);++r<f;){var o=n[r];t(o,r,n)&&(e.push(o),i.push(r))}return Gu(n,i),e}function fi(n){return n==null?n:gs.call(n)}function Rc(n,t,e){var r=n==null?0:n.length;return r?(e&&typeof e!="n\
umber"&&k(n,t,e)?(t=0,e=r):(t=t==null?0:E(t),e=e===l?r:E(e)),dn(n,t,e)):[]}function Ic(n,t){return Me(n,t)}function Sc(n,t,e){return Kr(n,t,R(e,2))}function Tc(n,t){var e=n==null?0:n.length;if(e){var r=Me(
n,t);if(r<e&&Ln(n[r],t))return r}return-1}function Ec(n,t){return Me(n,t,!0)}function Lc(n,t,e){return Kr(n,t,R(e,2),!0)}function yc(n,t){var e=n==null?0:n.length;if(e){var r=Me(n,t,!0)-1;if(Ln(n[r],t))
return r}return-1}function mc(n){return n&&n.length?qu(n):[]}function Cc(n,t){return n&&n.length?qu(n,R(t,2)):[]}function Oc(n){var t=n==null?0:n.length;return t?dn(n,1,t):[]}function Wc(n,t,e){return n&&
n.length?(t=e||t===l?1:E(t),dn(n,0,t<0?0:t)):[]}function bc(n,t,e){var r=n==null?0:n.length;return r?(t=e||t===l?1:E(t),t=r-t,dn(n,t<0?0:t,r)):[]}function Pc(n,t){return n&&n.length?Fe(n,R(t,3),!1,!0):
[]}function Bc(n,t){return n&&n.length?Fe(n,R(t,3)):[]}var Mc=y(function(n){return kn(Y(n,1,G,!0))}),Fc=y(function(n){var t=wn(n);return G(t)&&(t=l),kn(Y(n,1,G,!0),R(t,2))}),Uc=y(function(n){var t=wn(
n);return t=typeof t=="function"?t:l,kn(Y(n,1,G,!0),l,t)});function Dc(n){return n&&n.length?kn(n):[]}function Nc(n,t){return n&&n.length?kn(n,R(t,2)):[]}function Gc(n,t){return t=typeof t=="function"?
t:l,n&&n.length?kn(n,l,t):[]}function li(n){if(!(n&&n.length))return[];var t=0;return n=Zn(n,function(e){if(G(e))return t=K(e.length,t),!0}),Tr(t,function(e){return U(n,Rr(e))})}function Cf(n,t){if(!(n&&
n.length))return[];var e=li(n);return t==null?e:U(e,function(r){return un(t,l,r)})}var Hc=y(function(n,t){return G(n)?Xt(n,t):[]}),qc=y(function(n){return zr(Zn(n,G))}),Kc=y(function(n){var t=wn(n);return G(
t)&&(t=l),zr(Zn(n,G),R(t,2))}),$c=y(function(n){var t=wn(n);return t=typeof t=="function"?t:l,zr(Zn(n,G),l,t)}),zc=y(li);function Zc(n,t){return Zu(n||[],t||[],Yt)}function Yc(n,t){return Zu(n||[],t||
[],Vt)}var Xc=y(function(n){var t=n.length,e=t>1?n[t-1]:l;return e=typeof e=="function"?(n.pop(),e):l,Cf(n,e)});function Of(n){var t=u(n);return t.__chain__=!0,t}function Jc(n,t){return t(n),n}function ze(n,t){
return t(n)}var Qc=Nn(function(n){var t=n.length,e=t?n[0]:0,r=this.__wrapped__,i=function(f){return br(f,n)};return t>1||this.__actions__.length||!(r instanceof C)||!Gn(e)?this.thru(i):(r=r.slice(e,+e+
(t?1:0)),r.__actions__.push({func:ze,args:[i],thisArg:l}),new pn(r,this.__chain__).thru(function(f){return t&&!f.length&&f.push(l),f}))});function Vc(){return Of(this)}function kc(){return new pn(this.
value(),this.__chain__)}function jc(){this.__values__===l&&(this.__values__=$f(this.value()));var n=this.__index__>=this.__values__.length,t=n?l:this.__values__[this.__index__++];return{done:n,value:t}}
function nh(){return this}function th(n){for(var t,e=this;e instanceof Oe;){var r=Sf(e);r.__index__=0,r.__values__=l,t?i.__wrapped__=r:t=r;var i=r;e=e.__wrapped__}return i.__wrapped__=n,t}function eh(){
var n=this.__wrapped__;if(n instanceof C){var t=n;return this.__actions__.length&&(t=new C(this)),t=t.reverse(),t.__actions__.push({func:ze,args:[fi],thisArg:l}),new pn(t,this.__chain__)}return this.thru(
fi)}function rh(){return zu(this.__wrapped__,this.__actions__)}var ih=Ue(function(n,t,e){b.call(n,e)?++n[e]:Wn(n,e,1)});function uh(n,t,e){var r=T(n)?iu:Js;return e&&k(n,t,e)&&(t=l),r(n,R(t,3))}function fh(n,t){
var e=T(n)?Zn:mu;return e(n,R(t,3))}var lh=ef(Tf),oh=ef(Ef);function sh(n,t){return Y(Ze(n,t),1)}function ah(n,t){return Y(Ze(n,t),rt)}function ch(n,t,e){return e=e===l?1:E(e),Y(Ze(n,t),e)}function Wf(n,t){
var e=T(n)?fn:Vn;return e(n,R(t,3))}function bf(n,t){var e=T(n)?Oo:yu;return e(n,R(t,3))}var hh=Ue(function(n,t,e){b.call(n,e)?n[e].push(t):Wn(n,e,[t])});function gh(n,t,e,r){n=tn(n)?n:Wt(n),e=e&&!r?E(
e):0;var i=n.length;return e<0&&(e=K(i+e,0)),Ve(n)?e<=i&&n.indexOf(t,e)>-1:!!i&&At(n,t,e)>-1}var _h=y(function(n,t,e){var r=-1,i=typeof t=="function",f=tn(n)?h(n.length):[];return Vn(n,function(o){f[++r]=
i?un(t,o,e):Jt(o,t,e)}),f}),ph=Ue(function(n,t,e){Wn(n,e,t)});function Ze(n,t){var e=T(n)?U:Bu;return e(n,R(t,3))}function vh(n,t,e,r){return n==null?[]:(T(t)||(t=t==null?[]:[t]),e=r?l:e,T(e)||(e=e==null?
[]:[e]),Du(n,t,e))}var dh=Ue(function(n,t,e){n[e?0:1].push(t)},function(){return[[],[]]});function wh(n,t,e){var r=T(n)?xr:ou,i=arguments.length<3;return r(n,R(t,4),e,i,Vn)}function xh(n,t,e){var r=T(
n)?Wo:ou,i=arguments.length<3;return r(n,R(t,4),e,i,yu)}function Ah(n,t){var e=T(n)?Zn:mu;return e(n,Je(R(t,3)))}function Rh(n){var t=T(n)?Su:ga;return t(n)}function Ih(n,t,e){(e?k(n,t,e):t===l)?t=1:t=
E(t);var r=T(n)?$s:_a;return r(n,t)}function Sh(n){var t=T(n)?zs:va;return t(n)}function Th(n){if(n==null)return 0;if(tn(n))return Ve(n)?It(n):n.length;var t=Q(n);return t==Rn||t==In?n.size:Dr(n).length}
function Eh(n,t,e){var r=T(n)?Ar:da;return e&&k(n,t,e)&&(t=l),r(n,R(t,3))}var Lh=y(function(n,t){if(n==null)return[];var e=t.length;return e>1&&k(n,t[0],t[1])?t=[]:e>2&&k(t[0],t[1],t[2])&&(t=[t[0]]),Du(
n,Y(t,1),[])}),Ye=fs||function(){return z.Date.now()};function yh(n,t){if(typeof t!="function")throw new _n($);return n=E(n),function(){if(--n<1)return t.apply(this,arguments)}}function Pf(n,t,e){return t=
e?l:t,t=n&&t==null?n.length:t,Dn(n,Bn,l,l,l,l,t)}function Bf(n,t){var e;if(typeof t!="function")throw new _n($);return n=E(n),function(){return--n>0&&(e=t.apply(this,arguments)),n<=1&&(t=l),e}}var oi=y(
function(n,t,e){var r=hn;if(e.length){var i=Xn(e,Ct(oi));r|=Cn}return Dn(n,r,t,e,i)}),Mf=y(function(n,t,e){var r=hn|et;if(e.length){var i=Xn(e,Ct(Mf));r|=Cn}return Dn(t,r,n,e,i)});function Ff(n,t,e){t=
e?l:t;var r=Dn(n,mn,l,l,l,l,l,t);return r.placeholder=Ff.placeholder,r}function Uf(n,t,e){t=e?l:t;var r=Dn(n,pt,l,l,l,l,l,t);return r.placeholder=Uf.placeholder,r}function Df(n,t,e){var r,i,f,o,s,c,_=0,
p=!1,v=!1,d=!0;if(typeof n!="function")throw new _n($);t=xn(t)||0,D(e)&&(p=!!e.leading,v="maxWait"in e,f=v?K(xn(e.maxWait)||0,t):f,d="trailing"in e?!!e.trailing:d);function x(H){var yn=r,Kn=i;return r=
i=l,_=H,o=n.apply(Kn,yn),o}function I(H){return _=H,s=ne(m,t),p?x(H):o}function L(H){var yn=H-c,Kn=H-_,il=t-yn;return v?J(il,f-Kn):il}function A(H){var yn=H-c,Kn=H-_;return c===l||yn>=t||yn<0||v&&Kn>=
f}function m(){var H=Ye();if(A(H))return O(H);s=ne(m,L(H))}function O(H){return s=l,d&&r?x(H):(r=i=l,o)}function an(){s!==l&&Yu(s),_=0,r=c=i=s=l}function j(){return s===l?o:O(Ye())}function cn(){var H=Ye(),
yn=A(H);if(r=arguments,i=this,c=H,yn){if(s===l)return I(c);if(v)return Yu(s),s=ne(m,t),x(c)}return s===l&&(s=ne(m,t)),o}return cn.cancel=an,cn.flush=j,cn}var mh=y(function(n,t){return Lu(n,1,t)}),Ch=y(
function(n,t,e){return Lu(n,xn(t)||0,e)});function Oh(n){return Dn(n,je)}function Xe(n,t){if(typeof n!="function"||t!=null&&typeof t!="function")throw new _n($);var e=function(){var r=arguments,i=t?t.
apply(this,r):r[0],f=e.cache;if(f.has(i))return f.get(i);var o=n.apply(this,r);return e.cache=f.set(i,o)||f,o};return e.cache=new(Xe.Cache||Un),e}Xe.Cache=Un;function Je(n){if(typeof n!="function")throw new _n(
$);return function(){var t=arguments;switch(t.length){case 0:return!n.call(this);case 1:return!n.call(this,t[0]);case 2:return!n.call(this,t[0],t[1]);case 3:return!n.call(this,t[0],t[1],t[2])}return!n.
apply(this,t)}}function Wh(n){return Bf(2,n)}var bh=wa(function(n,t){t=t.length==1&&T(t[0])?U(t[0],ln(R())):U(Y(t,1),ln(R()));var e=t.length;return y(function(r){for(var i=-1,f=J(r.length,e);++i<f;)r[i]=
t[i].call(this,r[i]);return un(n,this,r)})}),si=y(function(n,t){var e=Xn(t,Ct(si));return Dn(n,Cn,l,t,e)}),Nf=y(function(n,t){var e=Xn(t,Ct(Nf));return Dn(n,vt,l,t,e)}),Ph=Nn(function(n,t){return Dn(n,
Pt,l,l,l,t)});function Bh(n,t){if(typeof n!="function")throw new _n($);return t=t===l?t:E(t),y(n,t)}function Mh(n,t){if(typeof n!="function")throw new _n($);return t=t==null?0:K(E(t),0),y(function(e){
var r=e[t],i=nt(e,0,t);return r&&Yn(i,r),un(n,this,i)})}function Fh(n,t,e){var r=!0,i=!0;if(typeof n!="function")throw new _n($);return D(e)&&(r="leading"in e?!!e.leading:r,i="trailing"in e?!!e.trailing:
i),Df(n,t,{leading:r,maxWait:t,trailing:i})}function Uh(n){return Pf(n,1)}function Dh(n,t){return si(Yr(t),n)}function Nh(){if(!arguments.length)return[];var n=arguments[0];return T(n)?n:[n]}function Gh(n){
return vn(n,gt)}function Hh(n,t){return t=typeof t=="function"?t:l,vn(n,gt,t)}function qh(n){return vn(n,$n|gt)}function Kh(n,t){return t=typeof t=="function"?t:l,vn(n,$n|gt,t)}function $h(n,t){return t==
null||Eu(n,t,Z(t))}function Ln(n,t){return n===t||n!==n&&t!==t}var zh=He(Mr),Zh=He(function(n,t){return n>=t}),ht=Wu((function(){return arguments})())?Wu:function(n){return N(n)&&b.call(n,"callee")&&!du.
call(n,"callee")},T=h.isArray,Yh=ki?ln(ki):ta;function tn(n){return n!=null&&Qe(n.length)&&!Hn(n)}function G(n){return N(n)&&tn(n)}function Xh(n){return n===!0||n===!1||N(n)&&V(n)==Bt}var tt=os||Ri,Jh=ji?
ln(ji):ea;function Qh(n){return N(n)&&n.nodeType===1&&!te(n)}function Vh(n){if(n==null)return!0;if(tn(n)&&(T(n)||typeof n=="string"||typeof n.splice=="function"||tt(n)||Ot(n)||ht(n)))return!n.length;var t=Q(
n);if(t==Rn||t==In)return!n.size;if(jt(n))return!Dr(n).length;for(var e in n)if(b.call(n,e))return!1;return!0}function kh(n,t){return Qt(n,t)}function jh(n,t,e){e=typeof e=="function"?e:l;var r=e?e(n,
t):l;return r===l?Qt(n,t,l,e):!!r}function ai(n){if(!N(n))return!1;var t=V(n);return t==oe||t==Il||typeof n.message=="string"&&typeof n.name=="string"&&!te(n)}function ng(n){return typeof n=="number"&&
xu(n)}function Hn(n){if(!D(n))return!1;var t=V(n);return t==se||t==Ei||t==Rl||t==Tl}function Gf(n){return typeof n=="number"&&n==E(n)}function Qe(n){return typeof n=="number"&&n>-1&&n%1==0&&n<=zn}function D(n){
var t=typeof n;return n!=null&&(t=="object"||t=="function")}function N(n){return n!=null&&typeof n=="object"}var Hf=nu?ln(nu):ia;function tg(n,t){return n===t||Ur(n,t,ni(t))}function eg(n,t,e){return e=
typeof e=="function"?e:l,Ur(n,t,ni(t),e)}function rg(n){return qf(n)&&n!=+n}function ig(n){if(Ha(n))throw new S(re);return bu(n)}function ug(n){return n===null}function fg(n){return n==null}function qf(n){
return typeof n=="number"||N(n)&&V(n)==Ft}function te(n){if(!N(n)||V(n)!=Mn)return!1;var t=Se(n);if(t===null)return!0;var e=b.call(t,"constructor")&&t.constructor;return typeof e=="function"&&e instanceof
e&&xe.call(e)==es}var ci=tu?ln(tu):ua;function lg(n){return Gf(n)&&n>=-zn&&n<=zn}var Kf=eu?ln(eu):fa;function Ve(n){return typeof n=="string"||!T(n)&&N(n)&&V(n)==Dt}function sn(n){return typeof n=="sy\
mbol"||N(n)&&V(n)==ae}var Ot=ru?ln(ru):la;function og(n){return n===l}function sg(n){return N(n)&&Q(n)==Nt}function ag(n){return N(n)&&V(n)==Ll}var cg=He(Nr),hg=He(function(n,t){return n<=t});function $f(n){
if(!n)return[];if(tn(n))return Ve(n)?Sn(n):nn(n);if(qt&&n[qt])return $o(n[qt]());var t=Q(n),e=t==Rn?Lr:t==In?ve:Wt;return e(n)}function qn(n){if(!n)return n===0?n:0;if(n=xn(n),n===rt||n===-rt){var t=n<
0?-1:1;return t*dl}return n===n?n:0}function E(n){var t=qn(n),e=t%1;return t===t?e?t-e:t:0}function zf(n){return n?ot(E(n),0,On):0}function xn(n){if(typeof n=="number")return n;if(sn(n))return fe;if(D(
n)){var t=typeof n.valueOf=="function"?n.valueOf():n;n=D(t)?t+"":t}if(typeof n!="string")return n===0?n:+n;n=su(n);var e=Zl.test(n);return e||Xl.test(n)?yo(n.slice(2),e?2:8):zl.test(n)?fe:+n}function Zf(n){
return Pn(n,en(n))}function gg(n){return n?ot(E(n),-zn,zn):n===0?n:0}function P(n){return n==null?"":on(n)}var _g=yt(function(n,t){if(jt(t)||tn(t)){Pn(t,Z(t),n);return}for(var e in t)b.call(t,e)&&Yt(n,
e,t[e])}),Yf=yt(function(n,t){Pn(t,en(t),n)}),Xf=yt(function(n,t,e,r){Pn(t,en(t),n,r)}),hi=yt(function(n,t,e,r){Pn(t,Z(t),n,r)}),pg=Nn(br);function vg(n,t){var e=Lt(n);return t==null?e:Tu(e,t)}var dg=y(
function(n,t){n=B(n);var e=-1,r=t.length,i=r>2?t[2]:l;for(i&&k(t[0],t[1],i)&&(r=1);++e<r;)for(var f=t[e],o=en(f),s=-1,c=o.length;++s<c;){var _=o[s],p=n[_];(p===l||Ln(p,St[_])&&!b.call(n,_))&&(n[_]=f[_])}
return n}),wg=y(function(n){return n.push(l,af),un(Jf,l,n)});function xg(n,t){return uu(n,R(t,3),bn)}function Ag(n,t){return uu(n,R(t,3),Br)}function Rg(n,t){return n==null?n:Pr(n,R(t,3),en)}function Ig(n,t){
return n==null?n:Cu(n,R(t,3),en)}function Sg(n,t){return n&&bn(n,R(t,3))}function Tg(n,t){return n&&Br(n,R(t,3))}function Eg(n){return n==null?[]:Pe(n,Z(n))}function Lg(n){return n==null?[]:Pe(n,en(n))}
function gi(n,t,e){var r=n==null?l:st(n,t);return r===l?e:r}function yg(n,t){return n!=null&&gf(n,t,Vs)}function _i(n,t){return n!=null&&gf(n,t,ks)}var mg=uf(function(n,t,e){t!=null&&typeof t.toString!=
"function"&&(t=Ae.call(t)),n[t]=e},vi(rn)),Cg=uf(function(n,t,e){t!=null&&typeof t.toString!="function"&&(t=Ae.call(t)),b.call(n,t)?n[t].push(e):n[t]=[e]},R),Og=y(Jt);function Z(n){return tn(n)?Iu(n):
Dr(n)}function en(n){return tn(n)?Iu(n,!0):oa(n)}function Wg(n,t){var e={};return t=R(t,3),bn(n,function(r,i,f){Wn(e,t(r,i,f),r)}),e}function bg(n,t){var e={};return t=R(t,3),bn(n,function(r,i,f){Wn(e,
i,t(r,i,f))}),e}var Pg=yt(function(n,t,e){Be(n,t,e)}),Jf=yt(function(n,t,e,r){Be(n,t,e,r)}),Bg=Nn(function(n,t){var e={};if(n==null)return e;var r=!1;t=U(t,function(f){return f=jn(f,n),r||(r=f.length>
1),f}),Pn(n,kr(n),e),r&&(e=vn(e,$n|Ii|gt,Ca));for(var i=t.length;i--;)$r(e,t[i]);return e});function Mg(n,t){return Qf(n,Je(R(t)))}var Fg=Nn(function(n,t){return n==null?{}:aa(n,t)});function Qf(n,t){
if(n==null)return{};var e=U(kr(n),function(r){return[r]});return t=R(t),Nu(n,e,function(r,i){return t(r,i[0])})}function Ug(n,t,e){t=jn(t,n);var r=-1,i=t.length;for(i||(i=1,n=l);++r<i;){var f=n==null?
l:n[En(t[r])];f===l&&(r=i,f=e),n=Hn(f)?f.call(n):f}return n}function Dg(n,t,e){return n==null?n:Vt(n,t,e)}function Ng(n,t,e,r){return r=typeof r=="function"?r:l,n==null?n:Vt(n,t,e,r)}var Vf=of(Z),kf=of(
en);function Gg(n,t,e){var r=T(n),i=r||tt(n)||Ot(n);if(t=R(t,4),e==null){var f=n&&n.constructor;i?e=r?new f:[]:D(n)?e=Hn(f)?Lt(Se(n)):{}:e={}}return(i?fn:bn)(n,function(o,s,c){return t(e,o,s,c)}),e}function Hg(n,t){
return n==null?!0:$r(n,t)}function qg(n,t,e){return n==null?n:$u(n,t,Yr(e))}function Kg(n,t,e,r){return r=typeof r=="function"?r:l,n==null?n:$u(n,t,Yr(e),r)}function Wt(n){return n==null?[]:Er(n,Z(n))}
function $g(n){return n==null?[]:Er(n,en(n))}function zg(n,t,e){return e===l&&(e=t,t=l),e!==l&&(e=xn(e),e=e===e?e:0),t!==l&&(t=xn(t),t=t===t?t:0),ot(xn(n),t,e)}function Zg(n,t,e){return t=qn(t),e===l?
(e=t,t=0):e=qn(e),n=xn(n),js(n,t,e)}function Yg(n,t,e){if(e&&typeof e!="boolean"&&k(n,t,e)&&(t=e=l),e===l&&(typeof t=="boolean"?(e=t,t=l):typeof n=="boolean"&&(e=n,n=l)),n===l&&t===l?(n=0,t=1):(n=qn(n),
t===l?(t=n,n=0):t=qn(t)),n>t){var r=n;n=t,t=r}if(e||n%1||t%1){var i=Au();return J(n+i*(t-n+Lo("1e-"+((i+"").length-1))),t)}return Hr(n,t)}var Xg=mt(function(n,t,e){return t=t.toLowerCase(),n+(e?jf(t):
t)});function jf(n){return pi(P(n).toLowerCase())}function nl(n){return n=P(n),n&&n.replace(Ql,No).replace(po,"")}function Jg(n,t,e){n=P(n),t=on(t);var r=n.length;e=e===l?r:ot(E(e),0,r);var i=e;return e-=
t.length,e>=0&&n.slice(e,i)==t}function Qg(n){return n=P(n),n&&Wl.test(n)?n.replace(mi,Go):n}function Vg(n){return n=P(n),n&&Ul.test(n)?n.replace(sr,"\\$&"):n}var kg=mt(function(n,t,e){return n+(e?"-":
"")+t.toLowerCase()}),jg=mt(function(n,t,e){return n+(e?" ":"")+t.toLowerCase()}),n_=tf("toLowerCase");function t_(n,t,e){n=P(n),t=E(t);var r=t?It(n):0;if(!t||r>=t)return n;var i=(t-r)/2;return Ge(ye(
i),e)+n+Ge(Le(i),e)}function e_(n,t,e){n=P(n),t=E(t);var r=t?It(n):0;return t&&r<t?n+Ge(t-r,e):n}function r_(n,t,e){n=P(n),t=E(t);var r=t?It(n):0;return t&&r<t?Ge(t-r,e)+n:n}function i_(n,t,e){return e||
t==null?t=0:t&&(t=+t),hs(P(n).replace(ar,""),t||0)}function u_(n,t,e){return(e?k(n,t,e):t===l)?t=1:t=E(t),qr(P(n),t)}function f_(){var n=arguments,t=P(n[0]);return n.length<3?t:t.replace(n[1],n[2])}var l_=mt(
function(n,t,e){return n+(e?"_":"")+t.toLowerCase()});function o_(n,t,e){return e&&typeof e!="number"&&k(n,t,e)&&(t=e=l),e=e===l?On:e>>>0,e?(n=P(n),n&&(typeof t=="string"||t!=null&&!ci(t))&&(t=on(t),!t&&
Rt(n))?nt(Sn(n),0,e):n.split(t,e)):[]}var s_=mt(function(n,t,e){return n+(e?" ":"")+pi(t)});function a_(n,t,e){return n=P(n),e=e==null?0:ot(E(e),0,n.length),t=on(t),n.slice(e,e+t.length)==t}function c_(n,t,e){
var r=u.templateSettings;e&&k(n,t,e)&&(t=l),n=P(n),t=hi({},t,r,sf);var i=hi({},t.imports,r.imports,sf),f=Z(i),o=Er(i,f);fn(f,function(A){if(Oi.test(A))throw new S(sl)});var s,c,_=0,p=t.interpolate||ce,
v="__p += '",d=yr((t.escape||ce).source+"|"+p.source+"|"+(p===Ci?$l:ce).source+"|"+(t.evaluate||ce).source+"|$","g"),x="//# sourceURL="+(b.call(t,"sourceURL")?(t.sourceURL+"").replace(/\s/g," "):"loda\
sh.templateSources["+ ++Ro+"]")+`
`;n.replace(d,function(A,m,O,an,j,cn){return O||(O=an),v+=n.slice(_,cn).replace(Vl,Ho),m&&(s=!0,v+=`' +
__e(`+m+`) +
'`),j&&(c=!0,v+=`';
`+j+`;
__p += '`),O&&(v+=`' +
((__t = (`+O+`)) == null ? '' : __t) +
'`),_=cn+A.length,A}),v+=`';
`;var I=b.call(t,"variable")&&t.variable;if(!I)v=`with (obj) {
`+v+`
}
`;else if(Oi.test(I))throw new S(ol);v=(c?v.replace(yl,""):v).replace(ml,"$1").replace(Cl,"$1;"),v="function("+(I||"obj")+`) {
`+(I?"":`obj || (obj = {});
`)+"var __t, __p = ''"+(s?", __e = _.escape":"")+(c?`, __j = Array.prototype.join;
function print() { __p += __j.call(arguments, '') }
`:`;
`)+v+`return __p
}`;var L=el(function(){return W(f,x+"return "+v).apply(l,o)});if(L.source=v,ai(L))throw L;return L}function h_(n){return P(n).toLowerCase()}function g_(n){return P(n).toUpperCase()}function __(n,t,e){
if(n=P(n),n&&(e||t===l))return su(n);if(!n||!(t=on(t)))return n;var r=Sn(n),i=Sn(t),f=au(r,i),o=cu(r,i)+1;return nt(r,f,o).join("")}function p_(n,t,e){if(n=P(n),n&&(e||t===l))return n.slice(0,gu(n)+1);
if(!n||!(t=on(t)))return n;var r=Sn(n),i=cu(r,Sn(t))+1;return nt(r,0,i).join("")}function v_(n,t,e){if(n=P(n),n&&(e||t===l))return n.replace(ar,"");if(!n||!(t=on(t)))return n;var r=Sn(n),i=au(r,Sn(t));
return nt(r,i).join("")}function d_(n,t){var e=cl,r=hl;if(D(t)){var i="separator"in t?t.separator:i;e="length"in t?E(t.length):e,r="omission"in t?on(t.omission):r}n=P(n);var f=n.length;if(Rt(n)){var o=Sn(
n);f=o.length}if(e>=f)return n;var s=e-It(r);if(s<1)return r;var c=o?nt(o,0,s).join(""):n.slice(0,s);if(i===l)return c+r;if(o&&(s+=c.length-s),ci(i)){if(n.slice(s).search(i)){var _,p=c;for(i.global||(i=
yr(i.source,P(Wi.exec(i))+"g")),i.lastIndex=0;_=i.exec(p);)var v=_.index;c=c.slice(0,v===l?s:v)}}else if(n.indexOf(on(i),s)!=s){var d=c.lastIndexOf(i);d>-1&&(c=c.slice(0,d))}return c+r}function w_(n){
return n=P(n),n&&Ol.test(n)?n.replace(yi,Xo):n}var x_=mt(function(n,t,e){return n+(e?" ":"")+t.toUpperCase()}),pi=tf("toUpperCase");function tl(n,t,e){return n=P(n),t=e?l:t,t===l?Ko(n)?Vo(n):Bo(n):n.match(
t)||[]}var el=y(function(n,t){try{return un(n,l,t)}catch(e){return ai(e)?e:new S(e)}}),A_=Nn(function(n,t){return fn(t,function(e){e=En(e),Wn(n,e,oi(n[e],n))}),n});function R_(n){var t=n==null?0:n.length,
e=R();return n=t?U(n,function(r){if(typeof r[1]!="function")throw new _n($);return[e(r[0]),r[1]]}):[],y(function(r){for(var i=-1;++i<t;){var f=n[i];if(un(f[0],this,r))return un(f[1],this,r)}})}function I_(n){
return Xs(vn(n,$n))}function vi(n){return function(){return n}}function S_(n,t){return n==null||n!==n?t:n}var T_=rf(),E_=rf(!0);function rn(n){return n}function di(n){return Pu(typeof n=="function"?n:
vn(n,$n))}function L_(n){return Mu(vn(n,$n))}function y_(n,t){return Fu(n,vn(t,$n))}var m_=y(function(n,t){return function(e){return Jt(e,n,t)}}),C_=y(function(n,t){return function(e){return Jt(n,e,t)}});
function wi(n,t,e){var r=Z(t),i=Pe(t,r);e==null&&!(D(t)&&(i.length||!r.length))&&(e=t,t=n,n=this,i=Pe(t,Z(t)));var f=!(D(e)&&"chain"in e)||!!e.chain,o=Hn(n);return fn(i,function(s){var c=t[s];n[s]=c,o&&
(n.prototype[s]=function(){var _=this.__chain__;if(f||_){var p=n(this.__wrapped__),v=p.__actions__=nn(this.__actions__);return v.push({func:c,args:arguments,thisArg:n}),p.__chain__=_,p}return c.apply(
n,Yn([this.value()],arguments))})}),n}function O_(){return z._===this&&(z._=rs),this}function xi(){}function W_(n){return n=E(n),y(function(t){return Uu(t,n)})}var b_=Jr(U),P_=Jr(iu),B_=Jr(Ar);function rl(n){
return ei(n)?Rr(En(n)):ca(n)}function M_(n){return function(t){return n==null?l:st(n,t)}}var F_=ff(),U_=ff(!0);function Ai(){return[]}function Ri(){return!1}function D_(){return{}}function N_(){return""}
function G_(){return!0}function H_(n,t){if(n=E(n),n<1||n>zn)return[];var e=On,r=J(n,On);t=R(t),n-=On;for(var i=Tr(r,t);++e<n;)t(e);return i}function q_(n){return T(n)?U(n,En):sn(n)?[n]:nn(If(P(n)))}function K_(n){
var t=++ts;return P(n)+t}var $_=Ne(function(n,t){return n+t},0),z_=Qr("ceil"),Z_=Ne(function(n,t){return n/t},1),Y_=Qr("floor");function X_(n){return n&&n.length?be(n,rn,Mr):l}function J_(n,t){return n&&
n.length?be(n,R(t,2),Mr):l}function Q_(n){return lu(n,rn)}function V_(n,t){return lu(n,R(t,2))}function k_(n){return n&&n.length?be(n,rn,Nr):l}function j_(n,t){return n&&n.length?be(n,R(t,2),Nr):l}var np=Ne(
function(n,t){return n*t},1),tp=Qr("round"),ep=Ne(function(n,t){return n-t},0);function rp(n){return n&&n.length?Sr(n,rn):0}function ip(n,t){return n&&n.length?Sr(n,R(t,2)):0}return u.after=yh,u.ary=Pf,
u.assign=_g,u.assignIn=Yf,u.assignInWith=Xf,u.assignWith=hi,u.at=pg,u.before=Bf,u.bind=oi,u.bindAll=A_,u.bindKey=Mf,u.castArray=Nh,u.chain=Of,u.chunk=Xa,u.compact=Ja,u.concat=Qa,u.cond=R_,u.conforms=I_,
u.constant=vi,u.countBy=ih,u.create=vg,u.curry=Ff,u.curryRight=Uf,u.debounce=Df,u.defaults=dg,u.defaultsDeep=wg,u.defer=mh,u.delay=Ch,u.difference=Va,u.differenceBy=ka,u.differenceWith=ja,u.drop=nc,u.
dropRight=tc,u.dropRightWhile=ec,u.dropWhile=rc,u.fill=ic,u.filter=fh,u.flatMap=sh,u.flatMapDeep=ah,u.flatMapDepth=ch,u.flatten=Lf,u.flattenDeep=uc,u.flattenDepth=fc,u.flip=Oh,u.flow=T_,u.flowRight=E_,
u.fromPairs=lc,u.functions=Eg,u.functionsIn=Lg,u.groupBy=hh,u.initial=sc,u.intersection=ac,u.intersectionBy=cc,u.intersectionWith=hc,u.invert=mg,u.invertBy=Cg,u.invokeMap=_h,u.iteratee=di,u.keyBy=ph,u.
keys=Z,u.keysIn=en,u.map=Ze,u.mapKeys=Wg,u.mapValues=bg,u.matches=L_,u.matchesProperty=y_,u.memoize=Xe,u.merge=Pg,u.mergeWith=Jf,u.method=m_,u.methodOf=C_,u.mixin=wi,u.negate=Je,u.nthArg=W_,u.omit=Bg,
u.omitBy=Mg,u.once=Wh,u.orderBy=vh,u.over=b_,u.overArgs=bh,u.overEvery=P_,u.overSome=B_,u.partial=si,u.partialRight=Nf,u.partition=dh,u.pick=Fg,u.pickBy=Qf,u.property=rl,u.propertyOf=M_,u.pull=vc,u.pullAll=
mf,u.pullAllBy=dc,u.pullAllWith=wc,u.pullAt=xc,u.range=F_,u.rangeRight=U_,u.rearg=Ph,u.reject=Ah,u.remove=Ac,u.rest=Bh,u.reverse=fi,u.sampleSize=Ih,u.set=Dg,u.setWith=Ng,u.shuffle=Sh,u.slice=Rc,u.sortBy=
Lh,u.sortedUniq=mc,u.sortedUniqBy=Cc,u.split=o_,u.spread=Mh,u.tail=Oc,u.take=Wc,u.takeRight=bc,u.takeRightWhile=Pc,u.takeWhile=Bc,u.tap=Jc,u.throttle=Fh,u.thru=ze,u.toArray=$f,u.toPairs=Vf,u.toPairsIn=
kf,u.toPath=q_,u.toPlainObject=Zf,u.transform=Gg,u.unary=Uh,u.union=Mc,u.unionBy=Fc,u.unionWith=Uc,u.uniq=Dc,u.uniqBy=Nc,u.uniqWith=Gc,u.unset=Hg,u.unzip=li,u.unzipWith=Cf,u.update=qg,u.updateWith=Kg,
u.values=Wt,u.valuesIn=$g,u.without=Hc,u.words=tl,u.wrap=Dh,u.xor=qc,u.xorBy=Kc,u.xorWith=$c,u.zip=zc,u.zipObject=Zc,u.zipObjectDeep=Yc,u.zipWith=Xc,u.entries=Vf,u.entriesIn=kf,u.extend=Yf,u.extendWith=
Xf,wi(u,u),u.add=$_,u.attempt=el,u.camelCase=Xg,u.capitalize=jf,u.ceil=z_,u.clamp=zg,u.clone=Gh,u.cloneDeep=qh,u.cloneDeepWith=Kh,u.cloneWith=Hh,u.conformsTo=$h,u.deburr=nl,u.defaultTo=S_,u.divide=Z_,
u.endsWith=Jg,u.eq=Ln,u.escape=Qg,u.escapeRegExp=Vg,u.every=uh,u.find=lh,u.findIndex=Tf,u.findKey=xg,u.findLast=oh,u.findLastIndex=Ef,u.findLastKey=Ag,u.floor=Y_,u.forEach=Wf,u.forEachRight=bf,u.forIn=
Rg,u.forInRight=Ig,u.forOwn=Sg,u.forOwnRight=Tg,u.get=gi,u.gt=zh,u.gte=Zh,u.has=yg,u.hasIn=_i,u.head=yf,u.identity=rn,u.includes=gh,u.indexOf=oc,u.inRange=Zg,u.invoke=Og,u.isArguments=ht,u.isArray=T,u.
isArrayBuffer=Yh,u.isArrayLike=tn,u.isArrayLikeObject=G,u.isBoolean=Xh,u.isBuffer=tt,u.isDate=Jh,u.isElement=Qh,u.isEmpty=Vh,u.isEqual=kh,u.isEqualWith=jh,u.isError=ai,u.isFinite=ng,u.isFunction=Hn,u.
isInteger=Gf,u.isLength=Qe,u.isMap=Hf,u.isMatch=tg,u.isMatchWith=eg,u.isNaN=rg,u.isNative=ig,u.isNil=fg,u.isNull=ug,u.isNumber=qf,u.isObject=D,u.isObjectLike=N,u.isPlainObject=te,u.isRegExp=ci,u.isSafeInteger=
lg,u.isSet=Kf,u.isString=Ve,u.isSymbol=sn,u.isTypedArray=Ot,u.isUndefined=og,u.isWeakMap=sg,u.isWeakSet=ag,u.join=gc,u.kebabCase=kg,u.last=wn,u.lastIndexOf=_c,u.lowerCase=jg,u.lowerFirst=n_,u.lt=cg,u.
lte=hg,u.max=X_,u.maxBy=J_,u.mean=Q_,u.meanBy=V_,u.min=k_,u.minBy=j_,u.stubArray=Ai,u.stubFalse=Ri,u.stubObject=D_,u.stubString=N_,u.stubTrue=G_,u.multiply=np,u.nth=pc,u.noConflict=O_,u.noop=xi,u.now=
Ye,u.pad=t_,u.padEnd=e_,u.padStart=r_,u.parseInt=i_,u.random=Yg,u.reduce=wh,u.reduceRight=xh,u.repeat=u_,u.replace=f_,u.result=Ug,u.round=tp,u.runInContext=a,u.sample=Rh,u.size=Th,u.snakeCase=l_,u.some=
Eh,u.sortedIndex=Ic,u.sortedIndexBy=Sc,u.sortedIndexOf=Tc,u.sortedLastIndex=Ec,u.sortedLastIndexBy=Lc,u.sortedLastIndexOf=yc,u.startCase=s_,u.startsWith=a_,u.subtract=ep,u.sum=rp,u.sumBy=ip,u.template=
c_,u.times=H_,u.toFinite=qn,u.toInteger=E,u.toLength=zf,u.toLower=h_,u.toNumber=xn,u.toSafeInteger=gg,u.toString=P,u.toUpper=g_,u.trim=__,u.trimEnd=p_,u.trimStart=v_,u.truncate=d_,u.unescape=w_,u.uniqueId=
K_,u.upperCase=x_,u.upperFirst=pi,u.each=Wf,u.eachRight=bf,u.first=yf,wi(u,(function(){var n={};return bn(u,function(t,e){b.call(u.prototype,e)||(n[e]=t)}),n})(),{chain:!1}),u.VERSION=X,fn(["bind","bi\
ndKey","curry","curryRight","partial","partialRight"],function(n){u[n].placeholder=u}),fn(["drop","take"],function(n,t){C.prototype[n]=function(e){e=e===l?1:K(E(e),0);var r=this.__filtered__&&!t?new C(
this):this.clone();return r.__filtered__?r.__takeCount__=J(e,r.__takeCount__):r.__views__.push({size:J(e,On),type:n+(r.__dir__<0?"Right":"")}),r},C.prototype[n+"Right"]=function(e){return this.reverse()[n](
e).reverse()}}),fn(["filter","map","takeWhile"],function(n,t){var e=t+1,r=e==Ti||e==vl;C.prototype[n]=function(i){var f=this.clone();return f.__iteratees__.push({iteratee:R(i,3),type:e}),f.__filtered__=
f.__filtered__||r,f}}),fn(["head","last"],function(n,t){var e="take"+(t?"Right":"");C.prototype[n]=function(){return this[e](1).value()[0]}}),fn(["initial","tail"],function(n,t){var e="drop"+(t?"":"Ri\
ght");C.prototype[n]=function(){return this.__filtered__?new C(this):this[e](1)}}),C.prototype.compact=function(){return this.filter(rn)},C.prototype.find=function(n){return this.filter(n).head()},C.prototype.
findLast=function(n){return this.reverse().find(n)},C.prototype.invokeMap=y(function(n,t){return typeof n=="function"?new C(this):this.map(function(e){return Jt(e,n,t)})}),C.prototype.reject=function(n){
return this.filter(Je(R(n)))},C.prototype.slice=function(n,t){n=E(n);var e=this;return e.__filtered__&&(n>0||t<0)?new C(e):(n<0?e=e.takeRight(-n):n&&(e=e.drop(n)),t!==l&&(t=E(t),e=t<0?e.dropRight(-t):
e.take(t-n)),e)},C.prototype.takeRightWhile=function(n){return this.reverse().takeWhile(n).reverse()},C.prototype.toArray=function(){return this.take(On)},bn(C.prototype,function(n,t){var e=/^(?:filter|find|map|reject)|While$/.
test(t),r=/^(?:head|last)$/.test(t),i=u[r?"take"+(t=="last"?"Right":""):t],f=r||/^find/.test(t);i&&(u.prototype[t]=function(){var o=this.__wrapped__,s=r?[1]:arguments,c=o instanceof C,_=s[0],p=c||T(o),
v=function(m){var O=i.apply(u,Yn([m],s));return r&&d?O[0]:O};p&&e&&typeof _=="function"&&_.length!=1&&(c=p=!1);var d=this.__chain__,x=!!this.__actions__.length,I=f&&!d,L=c&&!x;if(!f&&p){o=L?o:new C(this);
var A=n.apply(o,s);return A.__actions__.push({func:ze,args:[v],thisArg:l}),new pn(A,d)}return I&&L?n.apply(this,s):(A=this.thru(v),I?r?A.value()[0]:A.value():A)})}),fn(["pop","push","shift","sort","sp\
lice","unshift"],function(n){var t=de[n],e=/^(?:push|sort|unshift)$/.test(n)?"tap":"thru",r=/^(?:pop|shift)$/.test(n);u.prototype[n]=function(){var i=arguments;if(r&&!this.__chain__){var f=this.value();
return t.apply(T(f)?f:[],i)}return this[e](function(o){return t.apply(T(o)?o:[],i)})}}),bn(C.prototype,function(n,t){var e=u[t];if(e){var r=e.name+"";b.call(Et,r)||(Et[r]=[]),Et[r].push({name:t,func:e})}}),
Et[De(l,et).name]=[{name:"wrapper",func:l}],C.prototype.clone=xs,C.prototype.reverse=As,C.prototype.value=Rs,u.prototype.at=Qc,u.prototype.chain=Vc,u.prototype.commit=kc,u.prototype.next=jc,u.prototype.
plant=th,u.prototype.reverse=eh,u.prototype.toJSON=u.prototype.valueOf=u.prototype.value=rh,u.prototype.first=u.prototype.head,qt&&(u.prototype[qt]=nh),u}),Jn=ko();typeof define=="function"&&typeof define.
amd=="object"&&define.amd?(z._=Jn,define(function(){return Jn})):it?((it.exports=Jn)._=Jn,vr._=Jn):z._=Jn}).call(bt)});var ll=hp(fl(),1);globalThis.__lodash=ll.default;})();
